"""What runs start from: generated tasks and starting policies, made once in the folder of runs."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ablations.arms import Study
from ablations.jobs import ROOT, environment
from trl_mle.errors import ConfigError

DEMONSTRATIONS_PER_TASK = 1500
EPISODES_PER_TASK = 1000


def prepare(study: Study, runs: Path, policies: Sequence[str]) -> None:
    """Make the generated tasks and the named policies, unless they are there."""
    runs.mkdir(parents=True, exist_ok=True)
    make_tasks(study, runs)
    for policy in policies:
        make_policy(study, runs, policy)


def make_tasks(study: Study, runs: Path) -> None:
    """Folder `tasks` with one folder for each `generated:NAME` of the study."""
    wanted = [name.split(":")[1] for name in (*study.each, *study.held_out) if name.startswith("generated:")]
    if all((runs / "tasks" / name / "task.yaml").exists() for name in wanted):
        return
    generation = runs / "generation"
    flags = [word for name, value in study.generated_flags.items() for word in (f"--{name}", str(value))]
    command(["-m", "trl_mle.cli.main", "tasks", "generate", *flags, "--out", str(generation)])
    for name, task in choose_tasks(generation).items():
        if name in wanted and not (runs / "tasks" / name / "task.yaml").exists():
            shutil.rmtree(runs / "tasks" / name, ignore_errors=True)  # half of a copy that was cut off
            shutil.copytree(generation / "tasks" / task, runs / "tasks" / name)


def choose_tasks(generation: Path) -> dict[str, str]:
    """Name in the study -> id of a generated task: the first of each kind to train on, of two tables, and the first held out.

    Raises:
        ConfigError: the generation kept no such task.
    """
    with (generation / "tasks.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["task"]: row for row in csv.DictReader(file) if row["kept"] == "1"}
    train, held_out = (
        (generation / f"{part}.txt").read_text(encoding="utf-8").split() for part in ("train", "held_out")
    )
    chosen: dict[str, str] = {}
    for kind in ("binary", "regression"):
        tables = {rows[task]["table"] for task in chosen.values() if task}
        fitting = (task for task in train if rows[task]["kind"] == kind and rows[task]["table"] not in tables)
        chosen[kind] = next(fitting, "")
    chosen["held-out"] = next(iter(held_out), "")
    if missing := [name for name, task in chosen.items() if not task]:
        raise ConfigError(f"{generation} has no task for {missing}. Raise `count` of `generated` in arms.yaml.")
    return chosen


def make_policy(study: Study, runs: Path, name: str) -> None:
    """Train a starting policy on demonstrations of all tasks, the held-out ones excepted. `trl-mle sft` skips what is trained."""
    tasks = [
        str(runs / "tasks" / task.split(":")[1]) if task.startswith("generated:") else task for task in study.each
    ]
    recipe, count = ("sft-agent", EPISODES_PER_TASK) if name == "agent" else ("sft", DEMONSTRATIONS_PER_TASK)
    folder = runs / f"policy-{name}"
    if (folder / "sft.json").exists():
        return
    flags = ["--tasks", *tasks, "--num_demonstrations", str(count * len(tasks)), "--output_dir", str(folder)]
    command(["-m", "trl_mle.scripts.sft", "--config", f"recipes/quickstart/{recipe}.yaml", *flags])


def command(words: Sequence[str]) -> None:
    """Run a command of the package in this checkout.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    subprocess.run([sys.executable, *words], cwd=ROOT, env=environment(), check=True)
