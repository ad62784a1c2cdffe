"""The simulator behind `benchmarks/async_bias.py`: counts against what theory says of them."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

_FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(_FOLDER))
    try:
        yield importlib.import_module("async_bias")
    finally:
        sys.path.remove(str(_FOLDER))


@pytest.fixture(scope="module")
def simulator(bench):
    return sys.modules["simulator"]


def counts(collector, world, batches, skip=0, seed=0):
    random = np.random.default_rng(seed)
    found, lost = np.zeros(len(world.seconds)), np.zeros(len(world.seconds))
    for number in range(skip + batches):
        batch = collector.batch(world.policy, random)
        if number >= skip:
            found += np.bincount(batch.actions, minlength=len(found))
            lost += np.bincount(batch.lost_actions, minlength=len(found))
    return found, lost


def test_actors_that_drop_nothing_bring_the_policy_back(bench, simulator):
    world = bench.SLOW_WINS
    found, lost = counts(simulator.Actors(world, 32, 128), world, 200, skip=40)
    assert lost.sum() == 0
    assert np.abs(found / found.sum() - world.policy).max() < 0.01
    early, _ = counts(simulator.Actors(world, 32, 128), world, 1)
    assert early[-1] == 0  # the first batch holds fast programs only: not yet the steady state


def test_every_sample_is_kept_or_lost(bench, simulator):
    world = bench.SLOW_WINS
    found, lost = counts(simulator.FirstFinished(world, 6, 8), world, 500)
    assert (found.sum(), lost.sum()) == (3000, 1000)
    assert np.abs((found + lost) / 4000 - world.policy).max() < 0.03
    found, lost = counts(simulator.TimeLimit(world, 8, 100.0), world, 500)
    assert found[-1] == 0 and lost[:-1].sum() == 0


def test_a_window_is_a_renewal_process(simulator):
    """One program of 3 s in a window of 10 s: three finish, the fourth is discarded after 1 s."""
    world = simulator.World(np.array([3.0]), np.array([1.0]), np.array([1.0]), jitter=0.0)
    batch = simulator.DiscardingWindow(world, 5, 10.0).batch(world.policy, np.random.default_rng(0))
    assert len(batch.actions) == 15
    assert batch.lost_after.tolist() == pytest.approx([1.0] * 5)


def test_stale_samples_are_lost_when_they_become_stale(simulator):
    """Three actors at 1 s and one at 10 s, an update for every 3 samples: of 10 s at most 2 updates are waited for."""
    world = simulator.World(np.array([1.0, 10.0]), np.zeros(2), np.array([0.0, 1.0]), jitter=0.0)
    collector = simulator.Actors(world, 4, 3, max_updates=2)
    collector.action = np.array([0, 0, 0, 1])
    collector.seconds = world.seconds[collector.action]
    collector.finish = collector.seconds.copy()
    collector.drawn_with, collector.version = np.ones(4), np.zeros(4, dtype=int)
    random = np.random.default_rng(0)
    batches = [collector.batch(np.array([1.0, 0.0]), random) for _ in range(11)]
    assert collector.updates[:9] == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    assert np.concatenate([batch.lost_after for batch in batches]).tolist() == pytest.approx([3.0])


def test_the_papers_count_is_policy_over_duration(bench, simulator):
    world = bench.SLOW_WINS
    found, _ = counts(simulator.Repeating(world, 128), world, 300)
    expected = world.policy / world.seconds
    assert np.abs(found / found.sum() - expected / expected.sum()).max() < 0.01


def test_inverse_inclusion_repairs_a_window_and_proportional_does_not(bench):
    rule = next(rule for rule in bench.RULES if rule.key == "window")
    result = bench.measure(rule, bench.SLOW_WINS, replicates=6, batches=20)
    errors = {name: item["l1"] for name, item in result["weightings"].items()}
    assert errors["none"] > 0.15
    assert errors["proportional"] > 0.8
    assert errors["inverse, measured"] < 0.08
    assert errors["inverse, stated rule"] < 0.08
    assert min(result["inclusion_by_program"]) > 0.02


def test_a_biased_share_is_told_from_noise(bench):
    random = np.random.default_rng(0)
    truth = np.array([0.7, 0.3])
    fair = random.multinomial(1000, truth, size=30).astype(float)
    assert bench.compare(fair, truth)["unbiased"]
    skewed = random.multinomial(1000, [0.75, 0.25], size=30).astype(float)
    assert not bench.compare(skewed, truth)["unbiased"]
    assert bench.compare(skewed, truth)["l1"] == pytest.approx(0.1, abs=0.02)


def test_learning_is_seeded(bench):
    rule = bench.RULES[0]
    first, second = (bench.learn(rule, bench.SLOW_WINS, "proportional", 3, 20, 0.5)[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert first[-1] > bench.SLOW_WINS.policy[-1]


def test_the_document_quotes_the_results():
    root = _FOLDER.parent
    text = (root / "docs/duration.md").read_text(encoding="utf-8")
    results = json.loads((root / "docs/results/async_bias.json").read_text())
    for result in results["bias"]:
        (line,) = [
            line for line in text.splitlines() if line.startswith(f"| {result['label']} | {result['lost_share']:.1%}")
        ]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[3:] == [
            f"{item['l1']:.3f} ± {item['l1_se']:.3f}{' =' if item['unbiased'] else ''}"
            for item in result["weightings"].values()
        ]
