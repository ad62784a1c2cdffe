"""Alarms of a collapse: raised by what collapses, not by noise, progress or missing values."""

from __future__ import annotations

import json
import math
import random
from itertools import zip_longest
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.training.collapse.detector import CollapseDetector

VALUES = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


def detector(**thresholds):
    return CollapseDetector(**{"entropy": 0.4, "distinct": 0.4, "reward_drop": 0.8, "valid_drop": 0.5, **thresholds})


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
        batches.append((0.2 + 0.18 * math.exp(-step / 20), 1 - step / 200, share - 1 - 9 * (1 - share), share))
    assert signals(detector(), batches) == []


@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), max_size=30))
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
    watcher = detector(entropy=None, distinct=None, reward_drop=None, valid_drop=None)
    assert signals(watcher, [(0.4, 1.0, 5.0, 1.0)] * 5 + [(0.0, 0.1, -50.0, 0.0)] * 5) == []
    assert watcher.metrics()["collapse/entropy_ratio"] < 0.1
    assert watcher.metrics()["collapse/valid_lost"] > 0.9
    assert not watcher.is_broken


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
    batches = [(draw.random(), draw.random(), draw.gauss(0, 3), draw.random()) for _ in range(40)]
    whole, first, second = detector(), detector(), detector()
    signals(first, batches[:20])
    first.observe_update(math.inf)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    signals(whole, batches[:20])
    whole.observe_update(math.inf)
    assert signals(second, batches[20:]) == signals(whole, batches[20:])
    assert second.metrics() == whole.metrics()


def test_the_state_of_an_earlier_version_is_read():
    watcher = detector()
    signals(watcher, [(0.4, 0.9, float(number)) for number in range(8)])
    state = watcher.state_dict()
    gain = {name: value for name, value in state["gains"]["reward"].items() if name not in ("from_zero", "least")}
    old = {"early": state["early"], "gain": gain, "lost": 0.25, "on": ["entropy"]}
    again = detector()
    again.load_state_dict(old)
    assert (again.gains["reward"].best, again.lost["reward"]) == (watcher.gains["reward"].best, 0.25)
    assert again.gains["valid"].best is None


def acting(watcher, batches, updates=()):
    """Number of the first batch that training would stop or go back for, and its signal."""
    for number, (batch, kl) in enumerate(zip_longest(batches, updates)):
        found = [*watcher.observe(*batch), *watcher.observe_update(kl)]
        for alarm in found:
            if alarm.acts:
                return number, alarm.signal
    return None


def test_low_entropy_and_few_distinct_programs_are_no_reason_to_act():
    """12 of 13 runs that had converged so far stayed valid (docs/stability.md)."""
    watcher = detector()
    batches = [(0.4, 1.0, 0.0, 0.5)] * 4 + [(0.01, 0.05, 1.0, 0.95)] * 10
    assert acting(watcher, batches) is None
    assert watcher.on == {"entropy", "distinct"} and watcher.metrics()["collapse/alarm"] == 1.0
    assert not watcher.is_broken, "such a checkpoint may be gone back to"


def test_a_valid_share_that_is_gone_is_noticed_within_two_batches():
    shares = [0.55, 0.6, 0.7, 0.75, 0.8, 0.84, 0.9, 0.94, 0.9, 0.94, 0.1, 0.0, 0.0]
    assert acting(detector(reward_drop=None), [(None, None, None, share) for share in shares]) in (
        (10, "valid"),
        (11, "valid"),
    )


def test_a_policy_that_begins_valid_has_something_to_lose():
    """As after fine-tuning: there is no gain since the first batches."""
    shares = [0.9, 0.88, 0.92, 0.9, 0.91, 0.88, 0.9, 0.92, 0.1, 0.0, 0.0]
    assert acting(detector(reward_drop=None), [(None, None, None, share) for share in shares]) is not None


@pytest.mark.parametrize("level", [0.05, 0.3, 0.7, 1.0])
def test_valid_shares_without_a_trend_raise_no_alarm(level):
    alarms = 0
    for seed in range(60):
        draw = random.Random(seed)
        shares = [sum(draw.random() < level for _ in range(32)) / 32 for _ in range(100)]
        alarms += acting(detector(), [(None, None, None, share) for share in shares]) is not None
    assert alarms <= 4


BATCHES = [(0.4, 1.0, -5.0, 0.3), (0.4, 1.0, -4.0, 0.4), (0.4, 1.0, -3.0, 0.5)]


def test_an_update_that_goes_too_far_is_acted_on_once_a_batch_is_bad():
    good, bad = (0.4, 1.0, -2.0, 0.6), (0.4, 1.0, -10.0, 0.0)
    assert acting(detector(update_kl=0.1), [*BATCHES, good, good], [0, 0, 0.9]) is None
    assert acting(detector(update_kl=0.1), [*BATCHES, bad], [0, 0, 0.9]) == (3, "reward")
    assert acting(detector(update_kl=0.1), [*BATCHES, good, (None, None, None, 0.0)], [0, 0, 0.9]) == (4, "valid")
    assert acting(detector(update_kl=0.1), [*BATCHES, bad]) is None, "one bad batch alone may be noise"
    assert acting(detector(update_kl=0.1), [*BATCHES, bad], [0.9]) is None, (
        "two batches have shown that it did no harm"
    )
    assert acting(detector(update_kl=0.1, update_batches=3), [*BATCHES, bad], [0.9]) == (3, "reward")


def test_runs_that_were_measured():
    """Broken policies are acted on in the batch of the fall, the others never. The rewards were not kept: without them."""
    runs = json.loads((Path(__file__).parents[3] / "docs/results/collapse.json").read_text())["runs"]
    for arm, seeds in runs.items():
        for seed, run in seeds.items():
            watcher = CollapseDetector(0.25, None, None, update_kl=0.2, valid_drop=0.5)
            batches = [
                (entropy, None, None, share) for entropy, share in zip(run["entropy"], run["valid_share"], strict=True)
            ]
            found = acting(watcher, batches, run["update_kl"])
            breaks = arm in ("provoked, 4e-3", "provoked, 6e-3")
            expected = (run["valid_share_fell_in_update"] - 1, "valid") if breaks else None
            assert found == expected, f"{arm}, seed {seed}"
