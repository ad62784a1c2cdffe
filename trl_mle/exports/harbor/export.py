"""`export_harbor`: from a task to a folder in Harbor's format, with the answers in the verifier's box alone."""

from __future__ import annotations

import json
import math
import os
import shutil
from functools import partial
from pathlib import Path

from trl_mle.config import RewardConfig
from trl_mle.errors import TaskError
from trl_mle.exports.harbor.grading_code import grading_code
from trl_mle.exports.harbor.texts import SOLVE_SH, TEST_SH, dockerfile, instruction, task_toml, verifier_dockerfile
from trl_mle.tasks.cache import prepare_new
from trl_mle.tasks.mlebench.competitions import known
from trl_mle.tasks.mlebench.own_graders import own_grader
from trl_mle.tasks.task import Task

GRADERS = ("tabular", "mlebench")
"""Graders that work in a verifier: they need nothing but Python packages and the task's own files."""
NETWORKS = ("no-network", "public")
AGENT_TIMEOUT_S = 1800.0


def export_harbor(
    task: Task,
    out: Path,
    *,
    agent_timeout_s: float = AGENT_TIMEOUT_S,
    network: str = "no-network",
    config: RewardConfig | None = None,
) -> Path:
    """Write `task` as the new folder `out/<id>` in Harbor's format.

    Args:
        task ([`Task`]):
            The task.
        out (`Path`):
            Folder of the new folder.
        agent_timeout_s (`float`, *optional*, defaults to `1800`):
            Wall-clock limit of the agent, in seconds. `task.time_limit_s` is that of one program.
        network (`str`, *optional*, defaults to `"no-network"`):
            Network of the agent's box, `"no-network"` or `"public"`.
        config ([`RewardConfig`], *optional*):
            Reward of an invalid submission, and the part of the answers whose score is the reward.

    Returns:
        `Path`: the new folder.

    Raises:
        TaskError: the folder exists, a public file is a link, or the task's grader cannot be exported.
    """
    if task.grader not in GRADERS:
        raise TaskError(
            f"task {task.id!r} has the grader {task.grader!r}, which runs a program in a sandbox of this package; only "
            f"{' and '.join(GRADERS)} can be exported to Harbor."
        )
    options = task.grader_options
    if task.grader == "mlebench" and not own_grader(
        str(options.get("competition")), task.id_column, task.prediction_columns
    ):
        raise TaskError(
            f"task {task.id!r} is graded by the package mlebench, which a verifier does not have; only the competitions "
            f"{', '.join(known())} can be exported to Harbor."
        )
    if network not in NETWORKS:
        raise TaskError(f"network is {network!r} (`--network`); write {' or '.join(NETWORKS)}.")
    if not (math.isfinite(agent_timeout_s) and agent_timeout_s > 0):
        raise TaskError(
            f"agent_timeout_s is {agent_timeout_s!r} (`--agent-timeout-s`); write a positive number of seconds."
        )
    build = partial(_build, task=task, timeout_s=agent_timeout_s, network=network, config=config or RewardConfig())
    return prepare_new(out / task.id.rpartition(":")[2], build)


def _build(folder: Path, task: Task, timeout_s: float, network: str, config: RewardConfig) -> None:
    _write(folder / "instruction.md", instruction(task, timeout_s, network))
    _write(folder / "task.toml", task_toml(task, timeout_s, network))
    _write(folder / "environment" / "Dockerfile", dockerfile(task))
    _copy(task.public_dir, folder / "environment" / "input")
    if task.reference is not None:
        _write(folder / "solution" / "solve.sh", SOLVE_SH, mode=0o755)
        shutil.copyfile(task.reference, folder / "solution" / "reference.py")
    tests = folder / "tests"
    tests.mkdir(mode=0o700)  # it holds the answers
    _write(tests / "test.sh", TEST_SH, mode=0o755)
    _write(tests / "Dockerfile", verifier_dockerfile())
    shutil.copyfile(Path(__file__).parent / "verifier" / "verify.py", tests / "verify.py")
    settings = {
        "kind": [type(task).__module__, type(task).__qualname__],
        "prediction_columns": task.prediction_columns,
        "reward_split": config.reward_split,
        "failure_reward": config.failure_reward,
    }
    _write(tests / "settings.json", json.dumps(settings) + "\n")
    for name, content in grading_code(type(task)).items():
        _write(tests / "code" / name, content)
    _copy(task.private_dir, tests / "task" / "private")
    for path in sorted(task.folder.iterdir()):
        if path.suffix in (".yaml", ".csv") and path.is_file():  # task.yaml, a leaderboard
            shutil.copyfile(path, tests / "task" / path.name)
    sample = tests / "task" / "public" / task.sample_file
    sample.parent.mkdir(parents=True)
    shutil.copyfile(task.sample_path, sample)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _copy(source: Path, target: Path) -> None:
    """Copy a folder of regular files. A link could lead to the answers, so none is followed."""
    target.mkdir(parents=True)
    for root, folders, names in os.walk(source):
        for name in folders + names:
            path = Path(root, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise TaskError(f"{path} is no regular file; a task that is exported holds files alone, no links.")
            copy = target / path.relative_to(source)
            if name in folders:
                copy.mkdir()
            else:
                shutil.copyfile(path, copy)
