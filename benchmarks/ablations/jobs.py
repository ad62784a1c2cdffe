"""`Job`: one run of an arm on a task with a seed, trained, evaluated, and resumable after any kill.

The state of a job is its folder: checkpoints while it trains, `trained` when it has, samples while it is evaluated, and
`figures.json` when it is done.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from ablations.arms import ALL, Arm, Study
from ablations.clock import read_clock
from trl_mle.experience import STORE_FILE

ROOT = Path(__file__).parents[2]
FIGURES = "figures.json"
TRAINED = "trained"
ENDLESS = 1_000_000
"""Updates of a run that the clock ends."""
PROGRAMS_PER_S = 2.0
START_S = 25.0
"""Assumed until runs have been measured: programs per second of a run with known programs, and seconds until training begins."""


@dataclass(frozen=True)
class Budget:
    """What a run may use: a number of programs, or seconds of training with the machine to itself."""

    kind: str
    amount: int
    samples: int
    """Samples of the evaluation afterwards, per task."""

    @property
    def seconds(self) -> int | None:
        return self.amount if self.kind == "clock" else None


@dataclass(frozen=True)
class Job:
    """One run."""

    study: Study
    runs: Path
    arm: Arm
    task: str
    seed: int
    budget: Budget
    processes: int = 1
    """Runs at a time, which share the cores."""

    @property
    def name(self) -> str:
        task = self.task.replace(":", "-")
        return f"{self.budget.kind}-{self.budget.amount}/{task}/{self.arm.name}-{self.seed}"

    @property
    def folder(self) -> Path:
        return self.runs / self.name

    @property
    def is_done(self) -> bool:
        return (self.folder / FIGURES).exists()

    @property
    def updates(self) -> int:
        """Updates of the run."""
        return ENDLESS if self.budget.kind == "clock" else max(self.budget.amount // self.arm.programs_per_update, 1)

    @property
    def trained_on(self) -> list[str]:
        """Names of the tasks that the policy is trained on."""
        return [self.path_of(name) for name in (self.study.each if self.task == ALL else (self.task,))]

    @property
    def held_out(self) -> list[str]:
        """Names of the tasks that show transfer."""
        return [self.path_of(name) for name in self.study.held_out] if self.task == ALL else []

    def path_of(self, task: str) -> str:
        """Name of a task for `load_task`: a generated one is a link in the folder of runs."""
        return str(self.runs / "tasks" / task.split(":")[1]) if task.startswith("generated:") else task

    @property
    def policy(self) -> Path:
        """Folder of the starting policy."""
        return self.runs / f"policy-{self.arm.policy}"

    @property
    def cache(self) -> Path | None:
        """File of known programs; `None` where time counts."""
        return None if self.budget.kind == "clock" else self.runs / "programs.sqlite"

    def estimate_s(self, measured: dict[str, float]) -> float:
        """Seconds that the job will take, by the mean of its arm's ended runs where there are any."""
        sampling = self.budget.samples * (1 + len(self.held_out)) / PROGRAMS_PER_S
        if self.arm.kind == "refit":
            return 60.0 + sampling
        training = self.budget.seconds or measured.get(self.arm.name, self.budget.amount / PROGRAMS_PER_S)
        return START_S + training + sampling

    def run(self) -> str:
        """Train and evaluate whatever has not been; returns what to print."""
        if self.is_done:
            return "known"
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.arm.kind != "sample" and not (self.folder / TRAINED).exists():
            if not self._launch(self._training()):
                return f"training failed, see {self.log}"
            (self.folder / TRAINED).touch()
        if not self._launch(self._evaluation()):
            return f"evaluation failed, see {self.log}"
        return "done"

    @property
    def log(self) -> Path:
        return self.folder.with_suffix(".log")

    def _training(self) -> list[str]:
        """Command of the training."""
        if self.arm.kind == "plain":
            command = [
                "-m",
                "ablations.plain",
                "--config",
                "recipes/quickstart/grpo.yaml",
                "--model",
                str(self.policy),
            ]
            command += [
                "--tasks",
                *self.trained_on,
                "--output_dir",
                str(self.folder),
                "--max_steps",
                str(self.updates),
            ]
            command += ["--seed", str(self.seed), "--wall-limit-s", str(self.study.limit_of(self.arm))]
            command += [word for name, value in self.arm.flags.items() for word in (f"--{name}", str(value))]
            if self.budget.seconds is not None:
                return [*command, "--seconds", str(self.budget.seconds)]
            return [*command, "--cache", str(self.runs / "plain-programs")]
        if self.arm.kind == "refit":
            return ["-m", "trl_mle.scripts.sft", "--config", str(self._settings_file())]
        command = ["-m", "ablations.train", "--wall-limit-s", str(self.study.limit_of(self.arm))]
        command += ["--config", str(self._settings_file())]
        if self.cache is not None:
            command += ["--cache", str(self.cache)]
        return command if self.budget.seconds is None else [*command, "--seconds", str(self.budget.seconds)]

    def _evaluation(self) -> list[str]:
        """Command of the evaluation and the figures."""
        policy = self.policy if self.arm.kind == "sample" else self.folder
        command = ["-m", "ablations.final", "--policy", str(policy), "--folder", str(self.folder)]
        command += ["--tasks", *self.trained_on, "--held-out", *self.held_out, "--samples", str(self.budget.samples)]
        command += ["--seed", str(self.seed), "--cache", str(self.runs / "programs.sqlite")]
        command += [
            "--wall-limit-s",
            str(self.study.wall_limit_s),
            "--episode-programs",
            str(self.arm.episode_programs),
        ]
        command += ["--about", yaml.safe_dump(self.about)]
        if self.arm.kind != "sample":
            return command
        return [*command, "--sampled-s" if self.budget.kind == "clock" else "--sampled", str(self.budget.amount)]

    @property
    def about(self) -> dict[str, Any]:
        """What the figures are of."""
        return {
            "arm": self.arm.name,
            "task": self.task,
            "seed": self.seed,
            "budget": self.budget.kind,
            "amount": self.budget.amount,
        }

    def _settings_file(self) -> Path:
        """All settings of the training in one YAML file beside the run, because a flag cannot say `null`."""
        settings: dict[str, Any] = {}
        if self.arm.kind == "refit":
            # The store, for all arms of this kind: the rollouts do not say which program was whose parent.
            source = replace(self, arm=self.study.arms[str(self.arm.source)])
            settings |= yaml.safe_load((ROOT / "recipes/quickstart/sft.yaml").read_text(encoding="utf-8"))
            settings |= {
                "demonstrations": str(source.folder / STORE_FILE),
                "learning_rate": 3.0e-4,
                "improve_share": 0.0,
            }
            settings |= dict(self.arm.flags)
        else:
            flags = {**self.study.flags, **self.arm.flags}
            settings |= yaml.safe_load((ROOT / flags.pop("config")).read_text(encoding="utf-8"))
            settings |= flags
            settings |= {"max_steps": self.updates}
            if self.budget.kind == "programs":
                # Seconds of a known program are those of its first run, on a machine that others used as well.
                settings |= {"duration_clock": "cpu", "sandbox_workers": 1}
        settings |= {"model_name_or_path": str(self.policy), "tasks": self.trained_on, "seed": self.seed}
        settings |= {"output_dir": str(self.folder)}
        path = self.folder.with_suffix(".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path

    def _launch(self, command: Sequence[str]) -> bool:
        """Run a command of this folder with its output in the log; whether it succeeded."""
        with self.log.open("a", encoding="utf-8") as log:
            done = subprocess.run(
                [sys.executable, *command], cwd=ROOT, stdout=log, stderr=log, env=environment(), check=False
            )
        return done.returncode == 0


def environment() -> dict[str, str]:
    """Environment of the commands: this checkout first, one thread per process."""
    paths = [str(ROOT), str(ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def jobs_of(
    study: Study,
    runs: Path,
    arms: Sequence[str],
    tasks: list[str],
    seeds: Sequence[int],
    budget: Budget,
    processes: int,
) -> Iterator[Job]:
    """The jobs, seeds first: whatever ends early has whole comparisons. Those that need others come last within a seed."""
    chosen = sorted((study.arms[name] for name in arms), key=lambda arm: arm.kind == "refit")
    for seed, arm in product(seeds, chosen):
        if budget.kind in arm.budgets:
            for task in study.tasks_of(arm, tasks):
                yield Job(study, runs, arm, task, seed, budget, processes)


def measured_seconds(jobs: Sequence[Job]) -> dict[str, float]:
    """Arm -> mean seconds of training of its runs that have ended."""
    seconds: dict[str, list[float]] = {}
    for job in jobs:
        clock = read_clock(job.folder) if job.is_done else []
        if clock:
            seconds.setdefault(job.arm.name, []).append(clock[-1][1])
    return {arm: sum(values) / len(values) for arm, values in seconds.items()}
