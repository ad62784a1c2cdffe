"""What failures weigh: floor and clip of the duration weights, sleep that pays, and programs that end too late for their batch.

    python benchmarks/failure_weights.py

A softmax policy chooses among kinds of programs, each with its reward and its seconds. Groups of 8, batches of 32. Advantages are
those of GRPO (reward minus the group's mean, over its standard deviation), weights those of the package's own `duration_weights`,
steps plain gradient steps. Some kinds end by sleeping, which adds to wall-clock seconds only.

Printed per setting, as means over seeds with their standard deviation: the weight of a completion without a program and of a crash
beside programs of 5 s, updates until 80 % of the programs are valid, the share of valid programs at the end, and how the share of
sleepers among the valid programs changes.

A second table is about programs that fail only after their batch is trained on. They are lost, or their whole group is, or they
are waited for. Printed is the probability of such a program over that of one that fails at once, at its largest during the run;
both are equally likely at the start.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from trl_mle import duration_weights

RESULTS = Path(__file__).parents[1] / "docs/results/failure_weights.json"
GROUP, GROUPS, UPDATES, RATE = 8, 4, 400, 0.3
FAILURE = -10.0


@dataclass(frozen=True)
class Kind:
    """One kind of completion."""

    name: str
    start: float
    """Share of the policy at the start."""
    reward: float
    wall_s: float | None
    """`None` for a completion that never ran."""
    cpu_s: float | None


KINDS = (
    Kind("no program", 0.2, FAILURE, None, None),
    Kind("crash at once", 0.35, FAILURE, 0.02, 0.02),
    Kind("time-out", 0.05, FAILURE, 60.0, 60.0),
    Kind("valid, 5 s", 0.3, 0.3, 5.0, 5.0),
    Kind("valid, 5 s, then sleeps 50 s", 0.05, 0.3, 55.0, 5.0),
    Kind("valid, better, 20 s", 0.05, 0.5, 20.0, 20.0),
)
VALID = np.array([kind.reward > FAILURE for kind in KINDS])
SLEEPS = np.array(["sleeps" in kind.name for kind in KINDS])

SETTINGS: dict[str, dict] = {
    "none": {"mode": "none"},
    "proportional, bare (floor 0.01 s, no clip): the paper": {"floor_s": 0.01, "clip": None},
    "floor 1 s": {"floor_s": 1.0, "clip": None},
    "clip 4": {"floor_s": 0.01, "clip": 4.0},
    "floor 1 s, clip 4": {"floor_s": 1.0, "clip": 4.0},
    "floor 1 s, clip 2": {"floor_s": 1.0, "clip": 2.0},
    "floor 5 s, clip 4": {"floor_s": 5.0, "clip": 4.0},
    "floor 1 s, clip 4, CPU clock": {"floor_s": 1.0, "clip": 4.0, "clock": "cpu"},
}


def seconds(chosen: np.ndarray, clock: str, source: np.random.Generator) -> np.ndarray:
    """Durations of the chosen kinds, with a spread of 10 %."""
    mean = np.array([getattr(kind, f"{clock}_s") if kind.wall_s is not None else np.nan for kind in KINDS])
    return mean[chosen] * np.exp(0.1 * source.standard_normal(chosen.shape))


def learn(setting: dict, seed: int) -> dict[str, float]:
    """One run; what it reached."""
    source = np.random.default_rng(seed)
    logits = np.log([kind.start for kind in KINDS])
    rewards = np.array([kind.reward for kind in KINDS])
    reached, sleepers_before = float(UPDATES), None
    for update in range(UPDATES):
        policy = np.exp(logits - logits.max())
        policy /= policy.sum()
        valid = policy[VALID].sum()
        sleepers = policy[SLEEPS].sum() / valid
        sleepers_before = sleepers if sleepers_before is None else sleepers_before
        if valid >= 0.8:
            reached = min(reached, update)
        chosen = source.choice(len(KINDS), (GROUPS, GROUP), p=policy)
        got = rewards[chosen] + 0.05 * source.standard_normal(chosen.shape) * VALID[chosen]
        advantages = (got - got.mean(1, keepdims=True)) / (got.std(1, keepdims=True) + 1e-4)
        durations = seconds(chosen, setting.get("clock", "wall"), source).ravel()
        keywords = {name: value for name, value in setting.items() if name in ("mode", "floor_s", "clip")}
        weights = duration_weights(torch.tensor(durations), **keywords).numpy()
        gradient = np.zeros(len(KINDS))
        for kind, push in zip(chosen.ravel(), advantages.ravel() * weights, strict=True):
            gradient += push * ((np.arange(len(KINDS)) == kind) - policy)
        logits = logits + RATE * gradient / chosen.size
    return {"updates_to_80": reached, "valid": float(valid), "sleepers": float(sleepers / sleepers_before)}


LATE_KINDS = (
    Kind("fails at once", 0.25, FAILURE, 0.02, 0.02),
    Kind("fails too late", 0.25, FAILURE, 60.0, 60.0),
    Kind("valid", 0.5, 0.3, 5.0, 5.0),
)
TREATMENTS = ("it is lost", "its group is lost", "it is waited for")


def late_over_early(treatment: str, mode: str, seed: int) -> float:
    """The largest ratio, during a run, of the probabilities to fail too late and to fail at once."""
    source = np.random.default_rng(seed)
    logits = np.log([kind.start for kind in LATE_KINDS])
    rewards = np.array([kind.reward for kind in LATE_KINDS])
    wall_s = np.array([kind.wall_s for kind in LATE_KINDS])
    largest = 1.0
    for _ in range(UPDATES):
        policy = np.exp(logits - logits.max())
        policy /= policy.sum()
        largest = max(largest, float(policy[1] / policy[0]))
        chosen = source.choice(len(LATE_KINDS), (GROUPS, GROUP), p=policy)
        got = rewards[chosen] + 0.05 * source.standard_normal(chosen.shape) * (chosen == 2)
        late = chosen == 1
        lost = {
            "it is lost": late,
            "its group is lost": np.broadcast_to(late.any(1, keepdims=True), late.shape),
            "it is waited for": np.zeros_like(late),
        }[treatment]
        advantages = np.zeros(chosen.shape)
        for group, scored in enumerate(~lost):
            # A single completion has nothing to be compared with.
            if scored.sum() > 1:
                row = got[group, scored]
                advantages[group, scored] = (row - row.mean()) / (row.std() + 1e-4)
        if lost.all():
            continue
        weights = duration_weights(
            torch.tensor(wall_s[chosen].ravel()), mode, floor_s=1.0, clip=4.0, mask=torch.tensor(~lost.ravel())
        )
        gradient = np.zeros(len(LATE_KINDS))
        for kind, push in zip(chosen.ravel(), advantages.ravel() * weights.numpy(), strict=True):
            gradient += push * ((np.arange(len(LATE_KINDS)) == kind) - policy)
        logits = logits + RATE * gradient / chosen.size
    return largest


def weights_beside_5_s(setting: dict) -> tuple[float, float]:
    """Weights of a completion without a program, and of a crash after 20 ms, in a batch of programs of 5 s."""
    batch = torch.tensor([float("nan"), 0.02] + [5.0] * 30)
    keywords = {name: value for name, value in setting.items() if name in ("mode", "floor_s", "clip")}
    weights = duration_weights(batch, **keywords)
    return float(weights[0]), float(weights[1])


def late_programs(seeds: int) -> list[dict]:
    """The second table: printed, and its rows."""
    table = Table("a program that fails too late", *("none", "proportional, floor 1 s, clip 4"))
    rows = []
    for treatment in TREATMENTS:
        row: dict = {"treatment": treatment}
        for mode in ("none", "proportional"):
            values = [late_over_early(treatment, mode, seed) for seed in range(seeds)]
            row[mode] = (statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)
        rows.append(row)
        cells = [f"{row[mode][0]:.2f} ({row[mode][1]:.2f})" for mode in ("none", "proportional")]
        table.add_row(treatment, *cells)
    Console().print(table)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go")
    args = parser.parse_args()
    table = Table(
        "setting", "no program", "crash", "updates to 80 % valid", "valid in the end", "sleepers, times the start"
    )
    rows = []
    for name, setting in track(SETTINGS.items(), description="settings", console=Console(stderr=True)):
        runs = [learn(setting, seed) for seed in range(args.seeds)]
        row = {"setting": name, "weights": weights_beside_5_s(setting)}
        for key in runs[0]:
            values = [run[key] for run in runs]
            row[key] = (statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)
        rows.append(row)
        cells = [f"{mean:.2f} ({spread:.2f})" for mean, spread in (row["valid"], row["sleepers"])]
        updates = f"{row['updates_to_80'][0]:.0f} ({row['updates_to_80'][1]:.0f})"
        table.add_row(name, *(f"{weight:.3f}" for weight in row["weights"]), updates, *cells)
    Console().print(table)
    late_rows = late_programs(args.seeds)
    figures = {"seeds": args.seeds, "updates": UPDATES, "rows": rows, "late": late_rows}
    args.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
