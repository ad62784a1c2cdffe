"""Shares are exact over time, whatever they are, and survive in a checkpoint."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trl_mle.curriculum.shares import ExactShares

SHARES = (
    st.lists(st.integers(0, 20), min_size=3, max_size=3)
    .filter(any)
    .map(lambda weights: {name: weight / sum(weights) for name, weight in zip("abc", weights, strict=True)})
)


@given(shares=SHARES, choices=st.integers(1, 300))
def test_after_any_number_of_choices_the_shares_are_exact(shares, choices):
    dealt = ExactShares(shares)
    counts = Counter(dealt.next("task") for _ in range(choices))
    for kind, share in shares.items():
        assert counts[kind] - share * choices < 1 + 1e-6
        assert counts[kind] - share * choices > -2 - 1e-6
        assert share > 0 or counts[kind] == 0


def test_half_of_the_updates_with_one_group_each():
    shares = ExactShares({"scratch": 0.5, "improve": 0.5, "debug": 0.0})
    assert [shares.next("task") for _ in range(6)] == ["scratch", "improve"] * 3


def test_every_task_has_its_own_shares():
    """Two tasks that take turns must not have all prompts of one kind each."""
    shares = ExactShares({"scratch": 0.5, "improve": 0.5})
    dealt = [(task, shares.next(task)) for _ in range(4) for task in ("first", "second")]
    assert Counter(dealt) == {(task, kind): 2 for task in ("first", "second") for kind in ("scratch", "improve")}


@given(shares=SHARES, before=st.integers(0, 50))
def test_a_resumed_run_deals_as_the_uninterrupted_one(shares, before):
    whole, resumed = ExactShares(shares), ExactShares(shares)
    for _ in range(before):
        whole.next("task")
    resumed.load_state_dict(whole.state_dict())
    assert [resumed.next("task") for _ in range(20)] == [whole.next("task") for _ in range(20)]


def test_other_shares_after_a_resume_do_not_make_up_for_the_past():
    before = ExactShares({"scratch": 1.0, "improve": 0.0})
    for _ in range(1000):
        before.next("task")
    after = ExactShares({"scratch": 0.5, "improve": 0.5})
    after.load_state_dict(before.state_dict())
    assert Counter(after.next("task") for _ in range(10)) == {"scratch": 5, "improve": 5}
