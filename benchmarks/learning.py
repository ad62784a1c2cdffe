"""What a policy learns with each way of giving credit: the valid share, and the score of valid programs, over time.

    python benchmarks/learning.py --arms sum parts rank parts_improve --seeds 5 --updates 80

Every arm trains the demo policy on the same task with the same number of programs, by `benchmarks/outcome_cache.py`: a program
that was scored once, in any arm, has the same reward and CPU seconds in all of them. The policy is trained once, as the demo
policy is, on demonstrations of three tasks: in two of them slow models are better, in `diabetes` fast ones are. A run that has
ended is not repeated, so an interrupted benchmark goes on where it was. Arms are compared within a seed.

Printed, and written to `docs/results/learning_arms.json`: means over the seeds by sixths of the run, and the differences from the
first arm, in the last sixth and over the run, with 95 % intervals by Student's t over the pairs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from itertools import product
from multiprocessing.pool import ThreadPool
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
from quickstart import ROOT, launch
from scipy import stats

from trl_mle.outcomes import Column, RunColumn, read_rollouts
from trl_mle.rewards.score_transform import transform_score
from trl_mle.tasks import load_task

CREDIT: dict[str, list[str]] = {name: ["--reward_aggregation", name] for name in ("sum", "parts", "rank")}
"""Name -> flags. `sum` is the paper's."""
DURATIONS: dict[str, list[str]] = {"": [], "_none": ["--duration_weighting", "none"]}
IMPROVEMENT: dict[str, list[str]] = {"": ["--improve_fraction", "0"], "_improve": ["--improve_fraction", "0.5"]}
ARMS: dict[str, list[str]] = {
    f"{credit}{durations}{improvement}": CREDIT[credit] + DURATIONS[durations] + IMPROVEMENT[improvement]
    for credit, durations, improvement in product(CREDIT, DURATIONS, IMPROVEMENT)
}
"""Name -> flags of `grpo_mle.py` beside those that all arms have."""
SLOW_S = 1.0
"""CPU seconds from which a program counts as one of the slow model families."""
TASKS = ("builtin:computers", "builtin:segment", "builtin:diabetes")
"""Tasks of the demonstrations."""
POLICY = "runs/learning-policy"
DEMONSTRATIONS_PER_TASK = 2500
SIXTHS = 6
BEST_OF = 16
WALL_LIMIT_S = 30.0
"""Wall-clock limit of a program: above the one that prompts state, for a machine that is loaded."""


def main() -> None:
    args = parser().parse_args()
    if not (ROOT / POLICY / "config.json").exists():
        flags = ["--tasks", *TASKS, "--num_demonstrations", str(DEMONSTRATIONS_PER_TASK * len(TASKS))]
        launch("sft_mle.py", "recipes/quickstart/sft.yaml", *flags, "--output_dir", POLICY)
    # Seeds first: whatever ends early has whole comparisons.
    jobs = list(product(range(args.seeds), args.tasks, args.arms))
    with ThreadPool(args.processes) as pool:
        pool.map(lambda job: run(*job, args), jobs, chunksize=1)
    tables = {task: {arm: {} for arm in args.arms} for task in args.tasks}
    for seed, task, arm in jobs:
        tables[task][arm][seed] = figures(folder_of(seed, task, arm, args), task)
    names = ("trl_mle", "trl", "transformers", "torch", "scikit-learn")
    result = {
        "command": "python benchmarks/learning.py "
        + f"--arms {' '.join(args.arms)} --tasks {' '.join(args.tasks)} --seeds {args.seeds} --updates {args.updates}"
        + (f" --flags {' '.join(args.flags)}" if args.flags else ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in names},
        "sixths": tables,
        "differences": {task: differences(tables[task], args.arms) for task in args.tasks},
    }
    args.out.write_text(json.dumps(without_nan(result), indent=1) + "\n", encoding="utf-8")
    for task in args.tasks:
        show(task, tables[task], result["differences"][task])


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--arms", nargs="+", choices=ARMS, default=["sum", "parts", "rank"])
    made.add_argument("--tasks", nargs="+", choices=TASKS, default=["builtin:computers"])
    made.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    made.add_argument("--updates", type=int, default=80, help="updates of 32 programs")
    made.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="runs at a time")
    made.add_argument("--cache", type=Path, default=ROOT / "runs/outcomes.sqlite", help="file of known programs")
    made.add_argument("--out", type=Path, default=ROOT / "docs/results/learning_arms.json")
    made.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags for grpo_mle.py, for all arms")
    return made


def folder_of(seed: int, task: str, arm: str, args: argparse.Namespace) -> Path:
    """Folder of a run."""
    return ROOT / f"runs/learning/{task.removeprefix('builtin:')}-{arm}-{args.updates}-{seed}"


def run(seed: int, task: str, arm: str, args: argparse.Namespace) -> None:
    """Train one arm, unless that has been done."""
    folder = folder_of(seed, task, arm, args)
    if (folder / "summary.json").exists():
        return
    command = [sys.executable, "benchmarks/outcome_cache.py", "--cache", str(args.cache)]
    command += ["--wall-limit-s", str(WALL_LIMIT_S), "--config", "recipes/quickstart/grpo.yaml", "--tasks", task]
    command += ["--model_name_or_path", POLICY]
    command += ["--seed", str(seed), "--max_steps", str(args.updates), "--output_dir", str(folder.relative_to(ROOT))]
    command += ["--duration_clock", "cpu", "--sandbox_workers", "1"]
    command += ["--beta", "0", "--loss_type", "grpo", *ARMS[arm], *args.flags]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("w") as log:
        done = subprocess.run(
            command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        )
    print(f"{arm}, {task}, seed {seed}: " + ("done" if done.returncode == 0 else f"see {log.name}"), flush=True)


def figures(folder: Path, task_name: str) -> dict[str, list[float]]:
    """Figure -> its value in each sixth of a run. Faults of the infrastructure are left out."""
    rollouts = read_rollouts(folder)
    last = int(rollouts[RunColumn.STEP].max()) + 1
    found: dict[str, list[float]] = {}
    for sixth in range(SIXTHS):
        position = rollouts[RunColumn.STEP] * SIXTHS
        rows = rollouts[
            (position >= sixth * last) & (position < (sixth + 1) * last) & (rollouts[Column.KIND] != "fault")
        ]
        valid = rows[rows[Column.KIND] == "valid"]
        for name, value in (
            ("valid share", len(valid) / max(len(rows), 1)),
            ("score of valid programs", valid[Column.REWARD_SCORE].mean()),
            ("slow share of valid programs", (valid[Column.CPU_DURATION] > SLOW_S).mean()),
            (f"private score of the best of {BEST_OF}", best_of(rows, task_name)),
        ):
            found.setdefault(name, []).append(round(float(value), 4))
    return found


def best_of(rows: pd.DataFrame, task_name: str) -> float:
    """Mean private score, on the scale of the reward, of the best of each 16 programs in a row by public score."""
    task, best = load_task(task_name), []
    for start in range(0, len(rows) - BEST_OF + 1, BEST_OF):
        some = rows.iloc[start : start + BEST_OF].dropna(subset=[Column.REWARD_SCORE, Column.PRIVATE_SCORE])
        if len(some):
            chosen = some.loc[some[Column.REWARD_SCORE].idxmax()]
            best.append(transform_score(float(chosen[Column.PRIVATE_SCORE]), task.direction, task.transform))
        else:
            best.append(-1.0)
    return mean(best) if best else math.nan


def differences(table: dict[str, dict[int, dict[str, list[float]]]], arms: list[str]) -> dict[str, Any]:
    """Arm -> figure -> difference from the first arm, in the last sixth and in the mean over the run: mean, 95 % interval."""
    found: dict[str, Any] = {}
    first = table[arms[0]]
    for arm in arms[1:]:
        for figure in next(iter(first.values())):
            pairs = [(table[arm][seed][figure], first[seed][figure]) for seed in first]
            found.setdefault(arm, {})[figure] = {
                "last sixth": interval([ours[-1] - theirs[-1] for ours, theirs in pairs]),
                "whole run": interval([mean(ours) - mean(theirs) for ours, theirs in pairs]),
            }
    return found


def interval(differences: list[float]) -> list[float]:
    """Mean of paired differences, and its 95 % interval by Student's t."""
    low, high = math.nan, math.nan
    if len(set(differences)) > 1:
        low, high = stats.ttest_1samp(differences, 0.0).confidence_interval()
    return [round(float(value), 4) for value in (mean(differences), low, high)]


def without_nan(value: Any) -> Any:
    """`value` with `None` in place of NaN, which JSON does not have: a sixth without a valid program has no mean score."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def show(task: str, table: dict[str, dict[int, dict[str, list[float]]]], compared: dict[str, Any]) -> None:
    """Print the means over the seeds."""
    arms = list(table)
    for figure in next(iter(table[arms[0]].values())):
        print(f"\n{task}: {figure}, by sixths; difference from {arms[0]} in the last sixth, and over the run")
        for arm in arms:
            runs = table[arm].values()
            line = "".join(f"{mean(run[figure][sixth] for run in runs):7.2f}" for sixth in range(SIXTHS))
            if arm in compared:
                for numbers in compared[arm][figure].values():
                    line += "   {:+.2f} ({:+.2f} to {:+.2f})".format(*numbers)
            print(f"  {arm:20}{line}")


if __name__ == "__main__":
    main()
