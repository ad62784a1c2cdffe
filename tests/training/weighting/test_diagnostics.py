"""What shows a bias by duration: lost samples by quarter, and warnings that come once and say what to do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from trl_mle.training.weighting.diagnostics import DurationMonitor, duration_metrics
from trl_mle.training.weighting.duration import duration_weights
from trl_mle.training.weighting.rules import RULES
from trl_mle.training.weighting.samples import SampleBatch


def batch_of(durations, scorable=None, censored=None, lost_elsewhere=None):
    rows = len(durations)
    return SampleBatch(
        durations=torch.tensor(durations, dtype=torch.float64),
        rewards=torch.arange(rows, dtype=torch.float64),
        advantages=torch.ones(rows, dtype=torch.float64),
        scorable=torch.ones(rows, dtype=torch.bool) if scorable is None else torch.tensor(scorable),
        censored=None if censored is None else torch.tensor(censored),
        lost_elsewhere=None if lost_elsewhere is None else torch.tensor(lost_elsewhere, dtype=torch.float64),
    )


def metrics_of(batch, inclusion=None):
    return duration_metrics(
        batch, torch.ones(len(batch.durations), dtype=torch.float64), inclusion, min_inclusion=0.02
    )


def test_lost_samples_are_counted_by_quarter_of_all_that_ran():
    batch = batch_of(
        [1.0, 2.0, 3.0, 4.0, 9.0, math.nan, 5.0],
        scorable=[True, True, True, True, False, False, False],
        censored=[False, False, False, True, True, True, False],
        lost_elsewhere=[8.0, 7.0, 2.5],
    )
    # Row 4 was stopped and has no reward; rows 5 (never ran) and 6 (another fault) are no losses by duration.
    metrics = metrics_of(batch)
    assert metrics["duration/lost_share"] == pytest.approx(4 / 8)
    assert [metrics[f"duration/lost_share_q{q}"] for q in range(1, 5)] == [0.0, 0.5, 0.5, 1.0]
    assert metrics["duration/timeout_share"] == pytest.approx(3 / 7)
    assert metrics["duration/unscorable_share"] == pytest.approx(3 / 7)
    assert metrics["duration/max"] == 4.0
    assert metrics["duration/mean"] == 2.5


def test_rewards_that_are_not_known_have_no_quarters():
    batch = batch_of([1.0, 2.0, 3.0, 4.0, 5.0])
    metrics = metrics_of(replace(batch, rewards=torch.full((5,), math.nan, dtype=torch.float64)))
    assert not any("reward_q" in name for name in metrics)
    assert metrics["duration/mean"] == 3.0
    metrics = metrics_of(replace(batch, rewards=torch.tensor([math.nan, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)))
    assert [metrics[f"duration/reward_q{q}"] for q in range(1, 5)] == [1.0, 2.0, 3.0, 4.0]


def test_nothing_lost_is_zero_and_nothing_scored_is_no_error():
    metrics = metrics_of(batch_of([1.0, 2.0, 3.0, 4.0]))
    assert metrics["duration/lost_share"] == 0.0
    assert "duration/timeout_share" not in metrics
    assert metrics["duration/reward_q4"] == 3.0
    none = metrics_of(batch_of([math.nan], scorable=[False], censored=[False]))
    assert none == {"duration/unscorable_share": 1.0, "duration/timeout_share": 0.0}


def test_the_floor_is_reported():
    inclusion = torch.tensor([1.0, 0.01, 0.5, 0.001], dtype=torch.float64)
    metrics = metrics_of(batch_of([1.0, 2.0, 3.0, 4.0]), inclusion)
    assert metrics["duration/inclusion_min"] == 0.001
    assert metrics["duration/inclusion_floor_share"] == 0.5


def warnings_of(rule, batch, weights=None, inclusion=None, times=5):
    monitor = DurationMonitor(RULES[rule], min_inclusion=0.02)
    weights = torch.ones(len(batch.durations), dtype=torch.float64) if weights is None else weights
    return [text for _ in range(times) for text in monitor.observe(batch, weights, inclusion)]


def test_losses_without_weighting_are_warned_of_once():
    batch = batch_of([1.0] * 31, lost_elsewhere=[60.0])
    (text,) = warnings_of("none", batch)
    assert "3% of the samples were lost" in text
    assert "duration_weighting: inverse_inclusion" in text
    assert not warnings_of("inverse_inclusion", batch)
    assert not warnings_of("none", batch_of([1.0] * 32))
    assert not warnings_of("none", batch, times=1)  # too few samples to judge


def test_a_batch_that_a_few_slow_programs_dominate_is_warned_of_once():
    durations = [0.1] * 31 + [300.0]
    batch, weights = batch_of(durations), duration_weights(torch.tensor(durations))
    (text,) = warnings_of("proportional", batch, weights)
    assert "3% of the batch effective" in text
    assert "duration_clip" in text
    assert not warnings_of("proportional", batch)
    lossy = replace(batch, lost_elsewhere=torch.tensor([400.0], dtype=torch.float64))
    assert not warnings_of("proportional", lossy, weights)


def test_a_floor_that_bites_is_warned_of_once():
    inclusion = torch.tensor([1.0] * 28 + [0.001] * 4, dtype=torch.float64)
    (text,) = warnings_of("inverse_inclusion", batch_of([1.0] * 32), inclusion=inclusion)
    assert "12%" in text
    assert "duration_min_inclusion" in text
