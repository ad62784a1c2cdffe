"""Groups are dealt out in shares that are exact over time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.curriculum.mixture import deal, normalized

WEIGHTS = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8).map(
    lambda weights: normalized(dict(zip("abcdefgh", weights, strict=False)))
)


def test_two_equal_tasks_take_turns():
    assert deal({}, {"a": 0.5, "b": 0.5}, 4)[0] == ["a", "b", "a", "b"]


def test_a_task_without_a_share_gets_no_group():
    assert deal({}, {"a": 0.0, "b": 1.0}, 3)[0] == ["b", "b", "b"]


@given(shares=WEIGHTS, sizes=st.lists(st.integers(1, 9), max_size=20))
def test_shares_are_exact_over_time_and_batches_do_not_matter(shares, sizes):
    credit, dealt = {}, []
    for size in sizes:
        names, credit = deal(credit, shares, size)
        dealt += names
    assert dealt == deal({}, shares, len(dealt))[0]
    for name, share in shares.items():
        assert abs(dealt.count(name) - share * len(dealt)) < 1.5


@settings(max_examples=50)
@given(changing=st.lists(st.tuples(*[st.floats(0.01, 1.0)] * 4), min_size=1, max_size=60))
def test_shares_that_change_are_followed(changing):
    credit, dealt, due = {}, [], dict.fromkeys("abcd", 0.0)
    for weights in changing:
        shares = normalized(dict(zip("abcd", weights, strict=True)))
        names, credit = deal(credit, shares, 1)
        dealt += names
        due = {name: due[name] + shares[name] for name in due}
    for name, groups in due.items():
        assert abs(dealt.count(name) - groups) < 2.0
        assert credit[name] == pytest.approx(groups - dealt.count(name))
