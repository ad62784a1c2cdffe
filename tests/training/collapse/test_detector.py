"""Alarms of a collapse: raised by what collapses, not by noise, progress or missing values."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.training.collapse.detector import CollapseDetector

VALUES = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


def detector(**thresholds):
    return CollapseDetector(**{"entropy": 0.4, "distinct": 0.4, "reward_drop": 0.8, **thresholds})


def signals(watcher, batches):
    """Number of the batch, and signal, of every alarm."""
    return [(number, alarm.signal) for number, batch in enumerate(batches) for alarm in watcher.observe(*batch)]


def test_an_entropy_that_collapses_raises_one_alarm():
    entropies = [0.4, 0.42, 0.38, 0.3, 0.25, 0.2, 0.15, 0.1, 0.08, 0.08, 0.05]
    found = signals(detector(), [(entropy, 1.0, 0.0) for entropy in entropies])
    assert [signal for _, signal in found] == ["entropy"]
    # The smoothed value is below 0.4 * 0.4 when the entropy is about 0.1.
    assert found[0][0] in (7, 8)


def test_repeated_programs_raise_an_alarm():
    batches = [(0.4, distinct, 0.0) for distinct in [1.0, 0.97, 1.0, 0.9, 0.7, 0.4, 0.2, 0.1]]
    assert signals(detector(), batches) == [(7, "distinct")]


def test_a_policy_that_breaks_at_once_raises_an_alarm_within_three_batches():
    rewards = [-7.4, -5.5, -5.4, -4.1, -5.4, -3.0, -2.0, -1.2, -0.9, -10.0, -10.0, -10.0]
    assert signals(detector(), [(0.4, 1.0, reward) for reward in rewards]) in (
        [(9, "reward")],
        [(10, "reward")],
        [(11, "reward")],
    )


def test_one_bad_batch_is_no_collapse_of_entropy():
    assert signals(detector(), [(value, value, 0.0) for value in [0.4] * 8 + [0.15] + [0.4] * 8]) == []


def test_an_alarm_that_has_passed_may_come_again():
    entropies = [0.4] * 4 + [0.1] * 4 + [0.4] * 4 + [0.1] * 4
    assert len(signals(detector(), [(entropy, None, None) for entropy in entropies])) == 2


def test_rewards_without_a_trend_hardly_ever_raise_an_alarm():
    """A run that gains nothing has nothing to lose: within 100 batches of noise, one run in ten may raise an alarm."""
    alarms = 0
    for seed in range(60):
        draw = random.Random(seed)
        alarms += bool(signals(detector(), [(0.4, 0.9, draw.gauss(-8.0, 0.7)) for _ in range(100)]))
    assert alarms <= 6


@pytest.mark.parametrize("seed", range(20))
def test_a_run_that_learns_raises_no_alarm(seed):
    """The shape of the quickstart: the reward rises with the noise of 32 programs, entropy falls to a half."""
    draw = random.Random(seed)
    batches = []
    for step in range(60):
        valid = 0.3 + 0.65 * (1 - math.exp(-step / 10))
        share = sum(draw.random() < valid for _ in range(32)) / 32
        batches.append((0.2 + 0.18 * math.exp(-step / 20), 1 - step / 200, share - 1 - 9 * (1 - share)))
    assert signals(detector(), batches) == []


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=30))
def test_any_values_are_borne_and_metrics_stay_numbers(batches):
    watcher = detector()
    for batch in batches:
        watcher.observe(*batch)
        assert not any(math.isnan(value) for value in watcher.metrics().values())


@given(st.floats(min_value=0.01, max_value=100.0))
def test_the_scale_of_rewards_and_entropies_does_not_matter(scale):
    draw = random.Random(1)
    batches = [(abs(draw.gauss(0.3, 0.2)), draw.random(), draw.gauss(0, 1) - step % 17) for step in range(60)]
    scaled = [(entropy * scale, distinct, reward * scale) for entropy, distinct, reward in batches]
    assert signals(detector(), batches) == signals(detector(), scaled)


def test_without_thresholds_there_are_metrics_and_no_alarm():
    watcher = detector(entropy=None, distinct=None, reward_drop=None)
    assert signals(watcher, [(0.4, 1.0, 5.0)] * 5 + [(0.0, 0.1, -50.0)] * 5) == []
    assert watcher.metrics()["collapse/entropy_ratio"] < 0.1
    assert watcher.margin() == math.inf


def test_an_update_that_goes_too_far_raises_an_alarm_each_time():
    watcher = detector(update_kl=0.1)
    assert watcher.observe_update(0.1) == watcher.observe_update(None) == []
    assert [alarm.signal for kl in (0.2, 0.3, math.inf, math.nan) for alarm in watcher.observe_update(kl)] == [
        "update"
    ] * 4
    assert detector().observe_update(9.0) == []


def test_missing_values_change_nothing():
    watcher = detector()
    signals(watcher, [(0.4, 0.9, 1.0)] * 5)
    before = watcher.state_dict()
    assert watcher.observe(None, math.nan, math.inf) == []
    assert watcher.state_dict() == before


def test_state_is_read_back_from_a_checkpoint(tmp_path):
    draw = random.Random(3)
    batches = [(draw.random(), draw.random(), draw.gauss(0, 3)) for _ in range(40)]
    whole, first, second = detector(), detector(), detector()
    signals(first, batches[:20])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    signals(whole, batches[:20])
    assert signals(second, batches[20:]) == signals(whole, batches[20:])
    assert second.metrics() == whole.metrics()
