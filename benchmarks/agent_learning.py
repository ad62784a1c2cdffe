"""An agent of three programs per rollout against programs of one answer, at equal numbers of programs.

    python benchmarks/agent_learning.py --seeds 3 --updates 24
    python benchmarks/agent_learning.py --seeds 3 --updates 24 --arms "agent, one sum" "agent, credit per turn"

All arms start from one policy, whose demonstrations are half episodes and half answers. An update of an agent has 16 rollouts
of up to three programs; an update of `one answer` has 48 programs. A program that was scored once, in any arm, has the same
reward and CPU seconds in all of them (`trl_mle.rewards.cached_scorer`). A run that has ended is not repeated, and one that was cut
off goes on from its last checkpoint. `agent` has the two rewards of its recipe. Credit per turn takes one sum, so it is compared
with an agent of one sum.

Three answers are compared at the end (the last third of the updates): the rollout of the agent, one program, and three programs in
a row of which the one with the best validation score that it printed itself is taken. The last one has as many programs as the
agent, without seeing what they did. `docs/results/agent_learning.json` has the figures of every run by thirds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd
from learning import without_nan
from quickstart import ROOT

from trl_mle.evaluation.agent_turns import agent_turns
from trl_mle.outcomes import Column, RunColumn, read_rollouts
from trl_mle.tasks import load_task

TASK = "builtin:computers"
TURNS = 3
ROLLOUTS = 16
THIRDS = 3
LIMIT_S = 40.0
"""Limit of a program: far above that of the quickstart, for a machine that is loaded. Demonstrations state the same."""
AGENT = [
    *("--config", "quickstart/agent"),
    *("--per_device_train_batch_size", str(ROLLOUTS), "--num_generations", str(ROLLOUTS)),
]
ARMS: dict[str, list[str]] = {
    "agent": AGENT,
    "agent, one sum": [*AGENT, "--reward_aggregation", "sum"],
    "agent, credit per turn": [*AGENT, "--reward_aggregation", "sum", "--turn_credit", "return"],
    "one answer": [
        *("--config", "quickstart/grpo", "--improve_fraction", "0", "--beta", "0", "--loss_type", "grpo"),
        *("--per_device_train_batch_size", str(TURNS * ROLLOUTS), "--num_generations", str(TURNS * ROLLOUTS)),
    ],
}
"""Name -> flags of `trl-mle grpo`."""
BASIC = ("agent", "one answer")
"""Arms that are compared by default."""
PRINTED = r"hold-out score: ([-+\d.e]+)"
"""The validation score in the output of a program of the demo policy."""


def main() -> None:
    args = parser().parse_args()
    policy = args.runs / "policy"
    train_policy(policy, args)
    jobs = list(product(range(args.seeds), args.arms))  # seeds first: whatever ends early has whole comparisons
    for seed, arm in jobs:
        run(seed, arm, policy, args)
    done = [
        seed
        for seed in range(args.seeds)
        if all((folder_of(seed, arm, args) / "summary.json").exists() for arm in args.arms)
    ]
    tables = {arm: {seed: figures(folder_of(seed, arm, args), arm) for seed in done} for arm in args.arms}
    names = ("trl_mle", "trl", "transformers", "torch", "scikit-learn")
    result = {
        "command": f"python benchmarks/agent_learning.py --seeds {args.seeds} --updates {args.updates}"
        + ("" if args.arms == list(BASIC) else f" --arms {shlex.join(args.arms)}"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in names},
        "seeds": done,
        "runs": tables,
    }
    args.out.write_text(json.dumps(without_nan(result), indent=1) + "\n", encoding="utf-8")
    show(tables, done)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    made.add_argument("--arms", nargs="+", choices=ARMS, default=list(BASIC))
    made.add_argument("--updates", type=int, default=24, help="updates of up to 48 programs")
    made.add_argument("--runs", type=Path, default=ROOT / "runs/agent-learning", help="folder of policy and runs")
    made.add_argument("--out", type=Path, default=ROOT / "docs/results/agent_learning.json")
    return made


def train_policy(folder: Path, args: argparse.Namespace) -> None:
    """The policy that both arms start from, unless it has been trained."""
    if not (folder / "sft.json").exists():
        command = [sys.executable, "-m", "trl_mle.scripts.sft", "--config", "quickstart/sft-agent"]
        subprocess.run(
            [*command, "--output_dir", str(folder), "--program_time_limit_s", str(LIMIT_S)],
            cwd=ROOT, check=True, env=environment(),
        )  # fmt: skip


def folder_of(seed: int, arm: str, args: argparse.Namespace) -> Path:
    """Folder of a run."""
    return args.runs / f"{arm.replace(',', '').replace(' ', '-')}-{args.updates}-{seed}"


def run(seed: int, arm: str, policy: Path, args: argparse.Namespace) -> None:
    """Train one arm, unless that has been done. One that was cut off goes on from its last checkpoint."""
    folder = folder_of(seed, arm, args)
    if (folder / "summary.json").exists():
        return
    command = [sys.executable, "benchmarks/outcome_cache.py", "--cache", str(policy / "programs.sqlite"), *ARMS[arm]]
    command += ["--tasks", TASK, "--model_name_or_path", str(policy), "--output_dir", str(folder), "--seed", str(seed)]
    command += ["--max_steps", str(args.updates), "--program_time_limit_s", str(LIMIT_S), "--duration_clock", "cpu"]
    command += ["--save_steps", "2", "--resume_from_checkpoint", "auto", "--validate_tasks", "false"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("a") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, env=environment(), check=False)
    print(f"{arm}, seed {seed}: " + ("done" if done.returncode == 0 else f"see {log.name}"), flush=True)


def environment() -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": str(2**32),
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
        **os.environ,
    }


def figures(folder: Path, arm: str) -> dict[str, Any]:
    """Figure -> its value in each third of a run. Faults of the infrastructure are left out."""
    rollouts = read_rollouts(folder)
    rollouts = rollouts[rollouts[Column.KIND] != "fault"]
    last = int(rollouts[RunColumn.STEP].max()) + 1
    thirds = [rollouts[rollouts[RunColumn.STEP] * THIRDS // last == third] for third in range(THIRDS)]
    if arm.startswith("agent"):
        turns = [agent_turns(third) for third in thirds]
        return {
            "programs": int(rollouts[RunColumn.PROGRAMS_RUN].sum()),
            **answers(thirds),
            "programs per rollout": [round(each.programs, 3) for each in turns if each],
            "first programs valid": [_rounded(each.first_valid_share) for each in turns if each],
            "failures repaired": [_rounded(each.repaired_share) for each in turns if each],
            "valid ones improved": [_rounded(each.improved_share) for each in turns if each],
        }
    of_three = answers([best_of_three(third) for third in thirds])
    return {
        "programs": int(rollouts[Column.PROGRAM].notna().sum()),
        **answers(thirds),
        **{f"{name}, best of three": values for name, values in of_three.items()},
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 3)


def answers(thirds: list[pd.DataFrame]) -> dict[str, list[float]]:
    """Share of valid answers, score of the valid ones on the scale of the reward, and private score in the metric's unit."""
    found: dict[str, list[float]] = {}
    for rows in thirds:
        valid = rows[rows[Column.KIND] == "valid"]
        for name, value in (
            ("valid share", len(valid) / max(len(rows), 1)),
            ("score of valid answers", valid[Column.REWARD_SCORE].mean()),
            ("private score of valid answers", valid[Column.PRIVATE_SCORE].astype(float).mean()),
        ):
            found.setdefault(name, []).append(round(float(value), 4))
    return found


def best_of_three(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each three programs in a row, the valid one with the best validation score of its own; the first one if none is valid."""
    ascending = load_task(TASK).direction == "minimize"
    chosen = []
    for start in range(0, len(rows) - TURNS + 1, TURNS):
        some = rows.iloc[start : start + TURNS]
        valid = some[some[Column.KIND] == "valid"]
        printed = valid[Column.STDOUT].str.extract(PRINTED, expand=False).astype(float)
        valid = valid.loc[printed.sort_values(ascending=ascending, na_position="last", kind="stable").index]
        chosen.append((valid if len(valid) else some).iloc[0])
    return pd.DataFrame(chosen)


def show(tables: dict[str, dict[int, dict[str, Any]]], seeds: list[int]) -> None:
    """Print the last third of each arm: mean over the seeds, and their standard deviation."""
    for arm, runs in tables.items():
        print(f"\n{arm}, seeds {seeds}, last third")
        for name in next(iter(runs.values()), {}):
            values = [run[name] if name == "programs" else run[name][-1] for run in runs.values()]
            known = [value for value in values if value is not None and value == value]
            spread = f" (sd {stdev(known):.3f})" if len(known) > 1 else ""
            print(f"  {name:45}" + (f"{mean(known):9.3f}{spread}" if known else "        -"))


if __name__ == "__main__":
    main()
