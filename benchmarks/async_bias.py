"""Does weighting by duration repair the bias to fast programs? A policy with a known true gradient, under each way to collect.

    python benchmarks/async_bias.py

The first part collects batches with the policy held fixed and compares the share of the advantage that each program gets
(`sum w |A|` by program, normalised) with its true share: L1 distance (0 right, 2 disjoint), and the largest deviation in
standard errors. The second part lets a policy learn, from 10 seeds, and states how probable the best program is in the end.
Weights are those of the package (`trl_mle.training`): what is measured is what trains.

Takes about four minutes on one core. Writes `docs/results/async_bias.json` with all numbers and a picture beside it;
`docs/duration.md` quotes them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats
from simulator import (
    Actors,
    Batch,
    Collector,
    DiscardingWindow,
    FirstFinished,
    Repeating,
    Synchronous,
    TimeLimit,
    World,
)

from trl_mle.training.weighting.duration import duration_weights
from trl_mle.training.weighting.inclusion import InclusionModel

ROOT = Path(__file__).parent.parent
SECONDS = np.geomspace(0.5, 300.0, 6)
SLOW_WINS = World(
    seconds=SECONDS,
    rewards=np.array([0.10, 0.30, 0.25, 0.45, 0.60, 1.00]),
    policy=np.array([0.35, 0.25, 0.18, 0.12, 0.07, 0.03]),
)
FAST_WINS = World(seconds=SECONDS, rewards=SLOW_WINS.rewards[::-1].copy(), policy=SLOW_WINS.policy[::-1].copy())
"""The negative control: the fastest program is the best, and rare at the start."""
WORLDS = {"slow_wins": SLOW_WINS, "fast_wins": FAST_WINS}
SIZE = 128
MIN_INCLUSION = 0.02
WARM_UP = 40
"""Batches before any is counted: actors reach their steady state, and the memory fills."""


@dataclass(frozen=True)
class Rule:
    """A way to collect, and what a user would write as `duration_rule` for it."""

    key: str
    label: str
    make: Callable[[World], Collector]
    stated: str


RULES = (
    Rule("synchronous", "synchronous: wait for all", lambda w: Synchronous(w, SIZE), "timeout:100000"),
    Rule("steady", "steady actors, nothing dropped", lambda w: Actors(w, 32, SIZE), "staleness:1000000/100000"),
    Rule("window", "window of 330 s, rest discarded", lambda w: DiscardingWindow(w, 8, 330.0), "window:330"),
    Rule("first_126", "first 126 of 128", lambda w: FirstFinished(w, 126, 128), "first:126/128"),
    Rule("first_96", "first 96 of 128", lambda w: FirstFinished(w, 96, 128), "first:96/128"),
    Rule("staleness", "at most 3 updates stale", lambda w: Actors(w, 32, SIZE, 3), "staleness:3/{update_s}/{update_sd_s}"),
    Rule("timeout", "time-out of 100 s", lambda w: TimeLimit(w, SIZE, 100.0), "timeout:100"),
    Rule("timeout_load", "time-out of 200 s, shared machine", lambda w: TimeLimit(w, SIZE, 200.0, 0.5), "timeout:200/0.5"),
    Rule("repeating", "actors repeat one program (paper's count)", lambda w: Repeating(w, SIZE), "timeout:100000"),
)  # fmt: skip
WEIGHTINGS = ("none", "proportional", "inverse, stated rule", "inverse, measured")
LEARNING = ("none", "proportional", "inverse, measured")
SOFTER = {"proportional, clip 2": {"clip": 2.0}, "proportional, exponent 0.25": {"exponent": 0.25}}
"""Bounded forms of the paper's rule, for the learning runs."""
COLOURS = dict(zip(WEIGHTINGS, ("#8d99ae", "#c8553d", "#2a9d5c", "#1d3557"), strict=True))


def weigh(batch: Batch, model: InclusionModel | None, **settings: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of a batch as the trainer makes them, and the values before scaling to mean 1; shape `(n,)` each.

    With a model, the batch is observed first and weighted by inverse inclusion. Without, weights are proportional to durations.
    """
    seconds = torch.from_numpy(batch.seconds)
    if model is None:
        return duration_weights(seconds, "proportional", **settings), seconds
    model.observe(seconds)
    model.observe(torch.from_numpy(batch.lost_after), True)
    probabilities = model.probability(seconds)
    weights = duration_weights(seconds, "inverse_inclusion", inclusion=probabilities, min_inclusion=MIN_INCLUSION)
    return weights, 1.0 / probabilities.clamp(min=MIN_INCLUSION)


def update_intervals(rule: Rule, world: World, random: np.random.Generator) -> dict[str, float]:
    """Seconds between updates, mean and standard deviation, as a user would read them off a run."""
    collector = rule.make(world)
    for _ in range(WARM_UP + 400):
        collector.batch(world.policy, random)
    assert isinstance(collector, Actors)
    between = np.diff(collector.updates[WARM_UP:])
    return {"update_s": round(float(between.mean()), 1), "update_sd_s": round(float(between.std()), 1)}


def measure(rule: Rule, world: World, replicates: int, batches: int) -> dict:
    """Advantage mass by program for every weighting, with the policy held fixed."""
    size = np.abs(world.advantages())
    mass = {name: np.zeros((replicates, len(size))) for name in WEIGHTINGS}
    as_they_are = {name: np.zeros((replicates, len(size))) for name in WEIGHTINGS}
    counts, lost = np.zeros(len(size)), np.zeros(len(size))
    floored = dict.fromkeys(WEIGHTINGS, 0)
    stated = rule.stated
    if "{" in stated:
        stated = stated.format(**update_intervals(rule, world, np.random.default_rng(10_000)))
    for replicate in range(replicates):
        random = np.random.default_rng(replicate)
        collector = rule.make(world)
        models = {
            "proportional": None,
            "inverse, stated rule": InclusionModel(stated),
            "inverse, measured": InclusionModel("measured"),
        }
        for number in range(WARM_UP + batches):
            batch = collector.batch(world.policy, random)
            weights = {"none": (torch.ones(len(batch.actions)),) * 2}
            weights |= {name: weigh(batch, model) for name, model in models.items()}
            if number < WARM_UP:
                continue
            counts += np.bincount(batch.actions, minlength=len(size))
            lost += np.bincount(batch.lost_actions, minlength=len(size))
            for name, (normalised, raw) in weights.items():
                for table, values in ((mass, normalised), (as_they_are, raw)):
                    table[name][replicate] += np.bincount(
                        batch.actions, values.numpy() * size[batch.actions], len(size)
                    )
                floored[name] += int((raw >= 1.0 / MIN_INCLUSION).sum())
    inclusion = np.where(counts + lost > 0, counts / np.maximum(counts + lost, 1), 1.0)
    truth = world.true_mass()
    result = {
        "rule": rule.key,
        "label": rule.label,
        "stated": stated,
        "samples": int(counts.sum()),
        "lost_share": float(lost.sum() / (counts + lost).sum()),
        "inclusion_by_program": inclusion.round(4).tolist(),
        "every_inclusion_above_floor": bool((inclusion > MIN_INCLUSION).all()),
        "true_mass": truth.round(4).tolist(),
        "weightings": {},
    }
    for name in WEIGHTINGS:
        result["weightings"][name] = compare(mass[name], truth)
        result["weightings"][name]["before_normalising"] = compare(as_they_are[name], truth)
        if name.startswith("inverse"):
            result["weightings"][name]["floored_share"] = floored[name] / counts.sum()
    return result


def compare(mass: np.ndarray, truth: np.ndarray) -> dict:
    """Shares of `mass`, shape `(replicates, A)`, against the true ones `(A,)`.

    `l1_of_noise` is the L1 distance that an unbiased estimate would have on average; `z_max` the largest deviation in
    standard errors, at most 1000; `unbiased` whether it is below the 99 % point for the largest of `A` (Bonferroni).
    """
    each = mass / mass.sum(1, keepdims=True)
    mean, error = each.mean(0), each.std(0, ddof=1) / np.sqrt(len(each))
    far = np.abs(mean - truth)
    z = np.where(far < 1e-9, 0.0, far / np.maximum(error, 1e-9))
    limit = stats.t.ppf(1 - 0.01 / (2 * len(truth)), len(each) - 1)
    l1 = far.sum()
    # The error of the L1 distance, by leaving out one replicate at a time (jackknife).
    others = (each.sum(0) - each) / (len(each) - 1)
    left_out = np.abs(others - truth).sum(1)
    jackknife = np.sqrt((len(each) - 1) / len(each) * ((left_out - left_out.mean()) ** 2).sum())
    return {
        "l1": float(l1),
        "l1_se": float(jackknife),
        "l1_of_noise": float((error * np.sqrt(2 / np.pi)).sum()),
        "z_max": float(min(z.max(), 1000.0)),
        "unbiased": bool(z.max() < limit),
        "mass": mean.round(4).tolist(),
        "mass_se": error.round(5).tolist(),
    }


def learn(rule: Rule, world: World, weighting: str, seed: int, updates: int, rate: float) -> tuple[np.ndarray, float]:
    """Policy gradient on the logits as GRPO does it: group-normalised advantages, times the weights.

    Returns the policy in the end, shape `(A,)`, and the seconds of programs that were spent on it.
    """
    random = np.random.default_rng(seed)
    collector = rule.make(world)
    model = InclusionModel("measured") if weighting.startswith("inverse") else None
    logits = np.log(world.policy)
    spent = 0.0
    for _ in range(updates):
        policy = np.exp(logits - logits.max())
        policy /= policy.sum()
        batch = collector.batch(policy, random)
        spent += batch.seconds.sum() + batch.lost_after.sum()
        if len(batch.actions) < 2:
            continue
        rewards = world.rewards[batch.actions] + world.reward_noise * random.standard_normal(len(batch.actions))
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        # Samples of an older policy count by the ratio of probabilities, truncated.
        ratio = np.minimum(policy[batch.actions] / batch.drawn_with, 2.0)
        if isinstance(collector, Repeating):
            ratio = 1.0
        weights = (
            np.ones(len(rewards))
            if weighting == "none"
            else weigh(batch, model, **SOFTER.get(weighting, {}))[0].numpy()
        )
        push = weights * advantages * ratio
        logits += rate * (np.bincount(batch.actions, push, len(policy)) - push.sum() * policy) / len(push)
    return policy, spent


def learning(rule: Rule, name: str, world: World, seeds: int, updates: int, rate: float) -> dict:
    best = int(world.rewards.argmax())
    result = {"rule": rule.key, "world": name, "weightings": {}}
    for weighting in (*LEARNING, *SOFTER):
        ends = np.array([learn(rule, world, weighting, seed, updates, rate)[0] for seed in range(seeds)])
        reached = ends[:, best]
        result["weightings"][weighting] = {
            "best_program": [round(float(p), 4) for p in reached],
            "mean": float(reached.mean()),
            "sd": float(reached.std(ddof=1)) if seeds > 1 else None,
            "reward_mean": float((ends @ world.rewards).mean()),
            "policy_mean": ends.mean(0).round(4).tolist(),
        }
    return result


def draw(results: list[dict], learned: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(15, 6.2), sharey=True, width_ratios=(1.3, 1, 1), layout="constrained"
    )
    rows = np.arange(len(results))[::-1]
    for offset, name in zip((0.3, 0.1, -0.1, -0.3), WEIGHTINGS, strict=True):
        values = [result["weightings"][name]["l1"] for result in results]
        errors = [2 * result["weightings"][name]["l1_se"] for result in results]
        left.barh(rows + offset, values, 0.19, xerr=errors, color=COLOURS[name], label=name, error_kw={"lw": 0.8})
        for row, value in zip(rows, values, strict=True):
            left.text(value + 0.03, row + offset, f"{value:.2f}", va="center", fontsize=7)
    left.set(xlabel="L1 distance of the advantage mass from the true one\n(0: right; bars: 2 standard errors)")
    left.set(title="Fixed policy: bias", yticks=rows, yticklabels=[result["label"] for result in results], xlim=(0, 2))
    left.legend(fontsize=8, loc="lower right")
    worlds = (
        ("slow_wins", "The slow program (300 s) is the best"),
        ("fast_wins", "Control: the fast one (0.5 s) is the best"),
    )
    for axes, (world, title) in zip((middle, right), worlds, strict=True):
        by_rule = {entry["rule"]: entry["weightings"] for entry in learned if entry["world"] == world}
        for offset, name in zip((0.25, 0.0, -0.25), LEARNING, strict=True):
            for row, result in zip(rows, results, strict=True):
                ends = by_rule[result["rule"]][name]["best_program"]
                axes.barh(row + offset, np.mean(ends), 0.22, color=COLOURS[name], alpha=0.45)
                axes.plot(ends, [row + offset] * len(ends), "o", color=COLOURS[name], markersize=3, alpha=0.8)
        axes.set(
            title=title,
            xlim=(-0.02, 1.04),
            xlabel="probability of the best program after learning\n(bar: mean; dots: seeds)",
        )
    for axes in (left, middle, right):
        axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def show(results: list[dict], learned: list[dict]) -> None:
    console = Console(width=150)
    for title, part in (
        ("weights of mean 1 in each batch, as trained", None),
        ("weights not normalised", "before_normalising"),
    ):
        table = Table(title=f"L1 error of the advantage mass, +- standard error ('=': as an unbiased one); {title}")
        for heading in ("collection", "lost", "smallest P", *WEIGHTINGS):
            table.add_column(heading)
        for result in results:
            items = [item[part] if part else item for item in result["weightings"].values()]
            cells = [f"{item['l1']:.3f} +- {item['l1_se']:.3f}{' =' if item['unbiased'] else ''}" for item in items]
            least = min(result["inclusion_by_program"])
            table.add_row(result["label"], f"{result['lost_share']:.1%}", f"{least:.3f}", *cells)
        console.print(table)
    labels = {result["rule"]: result["label"] for result in results}
    for world in WORLDS:
        table = Table(title=f"{world}: probability of the best program in the end, mean (sd over seeds)")
        for heading in ("collection", *LEARNING, *SOFTER):
            table.add_column(heading)
        for entry in learned:
            if entry["world"] == world:
                cells = [f"{item['mean']:.3f} ({item['sd'] or 0:.3f})" for item in entry["weightings"].values()]
                table.add_row(labels[entry["rule"]], *cells)
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=40, help="independent runs with a fixed policy")
    parser.add_argument("--batches", type=int, default=100, help="batches of each")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of the learning runs")
    parser.add_argument("--updates", type=int, default=500, help="updates of a learning run")
    parser.add_argument("--rate", type=float, default=0.5, help="learning rate")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs/results/async_bias.json", help="the picture lies beside it"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    results = []
    for rule in RULES:
        results.append(measure(rule, SLOW_WINS, args.replicates, args.batches))
        print(f"{time.perf_counter() - started:6.1f} s  {rule.label}: fixed policy", flush=True)
    learned = []
    for name, world in WORLDS.items():
        for rule in RULES:
            learned.append(learning(rule, name, world, args.seeds, args.updates, args.rate))
            print(f"{time.perf_counter() - started:6.1f} s  {rule.label}: learning, {name}", flush=True)
    numbers = {key: value for key, value in vars(args).items() if key != "out"}
    result = {
        "command": "python benchmarks/async_bias.py " + " ".join(f"--{key} {value}" for key, value in numbers.items()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in ("trl_mle", "torch", "numpy")},
        "cpu_seconds": round(time.process_time(), 1),
        "worlds": {
            name: {
                "seconds": world.seconds.round(2).tolist(),
                "rewards": world.rewards.tolist(),
                "policy": world.policy.tolist(),
                "jitter": world.jitter,
                "reward_noise": world.reward_noise,
            }
            for name, world in WORLDS.items()
        },
        "bias": results,
        "learning": learned,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    draw(results, learned, args.out.with_suffix(".png"))
    show(results, learned)
    print(f"{result['cpu_seconds']:.0f} s of CPU; written to {args.out}")


if __name__ == "__main__":
    main()
