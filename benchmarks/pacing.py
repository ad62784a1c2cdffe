"""Lossless against lossy overlap where programs take log-normal seconds: what is lost, how long, how biased, how good.

    python benchmarks/pacing.py

Programs sleep. The seconds of one are `exp(SIGMA * z)` times the median of its kind, with `z` standard normal and a median that
grows with the reward: a text whose letters are all from `a` to `m` has the reward 1 and takes 16 times as long as one of reward 0.
All seconds are multiplied by `--scale`, so that many updates fit. The policy is the tiny one of `tests/support/tiny.py`.

Each arm is a way to handle programs that are slower than an update:

- `waiting`: no overlap, each update waits for its own batch;
- `lossless`: `overlap_execution` with `late_programs: wait`;
- `lossy, W`: `late_programs: lose` with `duration_weighting: W`.

The bias is read from `z`, which says how slow a program is for its kind and is independent of its reward. Each quarter of `z`
holds a quarter of `sum |w A|` in an unbiased run, whatever the policy. The reward is that of all completions that were started in
the last fifth of the updates, so that it is not the reward of survivors. Runs that are in `--out` are not run again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import platform
import statistics
import tempfile
from importlib.metadata import version
from itertools import count
from pathlib import Path

import checkout
import numpy as np
import pandas as pd
from overlap import EachUpdate
from rich.console import Console
from rich.table import Table
from transformers import PrinterCallback

logging.disable(logging.WARNING)

MEDIAN_S, SIGMA, SLOWER = 2.0, 1.2, 16.0
"""Median seconds of a program of reward one half, standard deviation of their logarithm, and how much longer reward 1 takes than
reward 0."""
LOSE = {"overlap_execution": True, "late_programs": "lose"}
ARMS = {
    "waiting": {"duration_weighting": "none"},
    "lossless": {"overlap_execution": True, "duration_weighting": "none"},
    "lossless, proportional": {"overlap_execution": True, "duration_weighting": "proportional"},
    "lossy, none": {**LOSE, "duration_weighting": "none"},
    "lossy, proportional": {**LOSE, "duration_weighting": "proportional"},
    "lossy, inverse_inclusion": {**LOSE, "duration_weighting": "inverse_inclusion"},
}
QUARTERS = (-0.6744897501960817, 0.0, 0.6744897501960817)
"""Quartiles of a standard normal."""


class SleepingPrograms:
    """An `async` reward function whose programs sleep. The reward is the share of letters `a` to `m` in the text."""

    def __init__(self, seed: int, scale: float):
        self.__name__ = "share"
        self.seed, self.scale = seed, scale
        self.number = count()
        self.started: list[float] = []
        """Reward of every program that was started, in order."""

    async def __call__(self, completions, log_extra, **kwargs):
        rewards, seconds, shocks = zip(*await asyncio.gather(*map(self.program, completions)), strict=True)
        log_extra("action_duration", list(seconds))
        log_extra("shock", list(shocks))
        return list(rewards)

    async def program(self, text: str) -> tuple[float, float, float]:
        shock = float(np.random.default_rng((self.seed, next(self.number))).standard_normal())
        reward = sum("a" <= letter <= "m" for letter in text) / 8
        self.started.append(reward)
        seconds = MEDIAN_S * SLOWER ** (reward - 0.5) * math.exp(SIGMA * shock) * self.scale
        await asyncio.sleep(seconds)
        return reward, seconds, shock


def train(arm: str, seed: int, args: argparse.Namespace) -> dict:
    """One run of an arm; its figures."""
    from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
    from trl_mle import DurationAwareTrainer

    programs, clock = SleepingPrograms(seed, args.scale), EachUpdate()
    with tempfile.TemporaryDirectory() as folder:
        trainer = DurationAwareTrainer(
            model=tiny_model(),
            reward_funcs=programs,
            args=tiny_args(
                folder,
                per_device_train_batch_size=args.batch,
                num_generations=args.generations,
                max_steps=args.updates,
                learning_rate=args.learning_rate,
                seed=seed,
                overlap_batches=args.overlap_batches,
                max_staleness=args.max_staleness,
                duration_floor_s=1.0 * args.scale,
                duration_clip=4.0,
                **ARMS[arm],
            ),
            train_dataset=tiny_dataset(64),
            processing_class=tiny_tokenizer(),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        files = sorted(Path(folder, "rollouts").glob("train_*.parquet"))
        table = pd.concat([pd.read_parquet(path) for path in files])
        dropped = [pd.read_parquet(path) for path in Path(folder, "rollouts").glob("lost_*.parquet")]
    lost = int(table["lost"].sum()) if "lost" in table else 0
    stale = sum(int((part["lost_because"] == "too stale").sum()) for part in dropped)
    trained = table[table["share"].notna()]
    mass = (trained["advantage"] * trained["duration_weight"]).abs()
    quarter = np.searchsorted(QUARTERS, trained["shock"])
    return {
        "arm": arm,
        "seed": seed,
        "update_s": statistics.fmean(clock.steps[2:]),
        "lost_share": (lost + stale) / (len(table) + stale),
        "dropped_groups_share": stale / (len(table) + stale),
        "mass": [float(mass[quarter == q].sum() / mass.sum()) for q in range(4)],
        "trained": [float((quarter == q).mean()) for q in range(4)],
        "staleness_mean": float(table["staleness"].mean()) if "staleness" in table else 0.0,
        "staleness_max": int(table["staleness"].max()) if "staleness" in table else 0,
        "reward_first": statistics.fmean(programs.started[: args.batch]),
        "reward_last": statistics.fmean(programs.started[-len(programs.started) // 5 :]),
        "reward_middle": statistics.fmean(
            programs.started[len(programs.started) * 2 // 5 : len(programs.started) * 3 // 5]
        ),
    }


def show(runs: list[dict], updates: int) -> None:
    """The table of `docs/distributed.md`; standard deviations over seeds in brackets."""
    waiting = {run["seed"]: run["update_s"] for run in runs if run["arm"] == "waiting"}
    table = Table(title=f"{updates} updates; standard deviation over seeds in brackets")
    for heading in (
        "arm",
        "seeds",
        "lost",
        "update s",
        "of waiting",
        "mass q1..q4",
        "max age",
        "reward mid",
        "reward end",
    ):
        table.add_column(heading)
    for arm in ARMS:
        mine = [run for run in runs if run["arm"] == arm]
        if not mine:
            continue
        ratios = [run["update_s"] / waiting[run["seed"]] for run in mine if run["seed"] in waiting]
        quarters = [f"{100 * statistics.fmean(run['mass'][q] for run in mine):.1f}" for q in range(4)]
        table.add_row(
            arm,
            str(len(mine)),
            f"{100 * statistics.fmean(run['lost_share'] for run in mine):.2f} %",
            f"{statistics.fmean(run['update_s'] for run in mine):.3f}",
            _mean(ratios, 2),
            " ".join(quarters),
            str(max(run["staleness_max"] for run in mine)),
            _mean([run["reward_middle"] for run in mine], 3),
            _mean([run["reward_last"] for run in mine], 3),
        )
    Console(width=150).print(table)


def _mean(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.fmean(values):.{digits}f} ({spread:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--updates", type=int, default=120)
    parser.add_argument("--scale", type=float, default=0.04, help="factor of all seconds")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--overlap-batches", type=int, default=2)
    parser.add_argument("--max-staleness", type=int, default=2)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--out", type=Path, default=checkout.ROOT / "docs" / "results" / "pacing.json")
    args = parser.parse_args()
    settings = {name: value for name, value in vars(args).items() if name not in ("out", "seeds", "arms")}
    runs: list[dict] = []
    if args.out.exists():
        before = json.loads(args.out.read_text(encoding="utf-8"))
        # Figures of other settings belong into another file.
        if before["settings"] != settings:
            parser.error(f"{args.out} holds runs with {before['settings']}; give another file by --out")
        runs = before["runs"]
    names = ("trl_mle", "trl", "transformers", "torch")
    machine = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    for seed in args.seeds:
        for arm in args.arms:
            if any(run["arm"] == arm and run["seed"] == seed for run in runs):
                continue
            runs.append(train(arm, seed, args))
            run = {key: round(value, 4) if isinstance(value, float) else value for key, value in runs[-1].items()}
            print(json.dumps(run), flush=True)
            report = {
                **machine,
                "versions": {name: version(name) for name in names},
                "settings": settings,
                "runs": runs,
            }
            args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(runs, args.updates)


if __name__ == "__main__":
    main()
