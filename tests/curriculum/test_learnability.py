"""Learnability: highest at a success rate of one half or while scores change; and no task can be starved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.curriculum.learnability import Progress, Result, learnability_of, learnable_shares

RESULTS = st.lists(
    st.builds(Result, st.booleans(), st.one_of(st.none(), st.floats(-1, 1), st.just(float("nan")))), max_size=80
)


def after(results, half_life=16.0):
    progress = Progress()
    for result in results:
        progress = progress.after(result, half_life)
    return progress


def of_rate(successes, tries=64):
    """Evenly spread successes."""
    return after([Result(place * successes // tries != (place + 1) * successes // tries) for place in range(tries)])


def test_a_success_rate_of_one_half_teaches_most():
    rates = [of_rate(successes).learnability for successes in (0, 8, 16, 32, 48, 56, 64)]
    assert max(rates) == rates[3] > 0.95
    assert rates[0] < rates[1] < rates[2] and rates[4] > rates[5] > rates[6]
    assert rates[0] == pytest.approx(rates[6])


def test_an_unknown_task_is_tried():
    assert Progress().learnability == learnability_of([]) == 1.0


def test_what_is_long_past_does_not_count():
    was_easy = after([Result(True)] * 200 + [Result(False)] * 200)
    assert was_easy.success_rate == pytest.approx(after([Result(False)] * 200).success_rate, abs=1e-3)


def test_scores_that_rise_or_fall_teach_although_all_are_valid():
    noise = [0.05 * (-1) ** place for place in range(120)]
    still = after([Result(True, 0.3 + each) for each in noise])
    rising = after([Result(True, 0.01 * place + each) for place, each in enumerate(noise)])
    falling = after([Result(True, -0.01 * place + each) for place, each in enumerate(noise)])
    assert still.score_change == 0.0
    assert rising.score_change == pytest.approx(falling.score_change, abs=0.01) and rising.score_change > 0.3
    assert rising.learnability > 2 * still.learnability


def test_equal_scores_are_no_change():
    assert after([Result(True, 0.1)] * 99).score_change == 0.0


@given(results=RESULTS, half_life=st.floats(1, 100))
def test_numbers_stay_in_their_ranges(results, half_life):
    progress = after(results, half_life)
    assert 0 < progress.success_rate < 1
    assert 0 <= progress.score_change <= 1
    assert 0 < progress.learnability <= 1
    assert Progress(*progress.plain()) == progress


@given(
    values=st.lists(st.floats(0, 1), min_size=1, max_size=9).map(lambda values: dict(enumerate(values))),
    floor=st.floats(0.01, 1.0),
)
def test_no_task_starves(values, floor):
    shares = learnable_shares(values, floor)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) >= floor / len(values) - 1e-12
    names = sorted(values, key=values.__getitem__)
    assert [shares[name] for name in names] == sorted(shares.values())
