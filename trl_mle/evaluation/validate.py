"""Does a task work, and is there something to learn? Its reference solution must beat its baseline."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.sandboxes.base import Sandbox
from trl_mle.tasks import Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProgramScore:
    """What one of the task's own programs reached in the sandbox."""

    public: float
    """Raw score on the public part of the answers."""
    private: float
    """Raw score on the private part."""
    wall_s: float
    """Seconds of execution."""


@dataclass(frozen=True)
class Validation:
    """Scores of a task's own programs, measured on this machine; `None` for a program that the task does not have."""

    task_id: str
    baseline: ProgramScore | None
    reference: ProgramScore | None


async def validate_task(task: Task, sandbox: Sandbox) -> Validation:
    """Run the task's baseline and reference solution in `sandbox` (already open) and compare them.

    Raises:
        TaskError: one of them fails or has no valid submission, or the reference does not beat the baseline on both
            parts of the answers.
        SandboxError: the sandbox failed.
    """
    paths = {"baseline": task.baseline, "reference": task.reference}
    scores = dict.fromkeys(paths, None) | {
        name: await _score(task, name, path, sandbox) for name, path in paths.items() if path is not None
    }
    validation = Validation(task.id, scores["baseline"], scores["reference"])
    if validation.baseline is not None and validation.reference is not None:
        for split in ("public", "private"):
            reference, baseline = getattr(validation.reference, split), getattr(validation.baseline, split)
            better = reference > baseline if task.direction == "maximize" else reference < baseline
            if not better:
                raise TaskError(
                    f"Task {task.id}: the reference solution ({reference:.6g}) does not beat the baseline ({baseline:.6g}) "
                    f"on the {split} part ({task.metric}, {task.direction}). Check the metric's direction and the programs."
                )
    return validation


async def _score(task: Task, name: str, path: Path, sandbox: Sandbox) -> ProgramScore:
    execution = await sandbox.run(path.read_text(encoding="utf-8"), task)
    if execution.status != "ok" or execution.submission is None:
        last = execution.stderr.strip().splitlines()[-1:] or [execution.submission_reason or "no submission.csv"]
        raise TaskError(f"Task {task.id}: its {name} program ended with status {execution.status!r}: {last[0]}")
    submission = execution.submission
    grades = {split: await asyncio.to_thread(task.grade, submission, split) for split in ("public", "private")}
    for split, grade in grades.items():
        if grade.score is None:
            raise TaskError(f"Task {task.id}: the submission of its {name} program is invalid ({split}): {grade.reason}")
    return ProgramScore(grades["public"].score, grades["private"].score, execution.wall_s)


async def validate_task_once(task: Task, sandbox: Sandbox) -> Validation:
    """As `validate_task`, remembered in the task's folder until its programs or the libraries that they use change."""
    key = hashlib.sha256()
    for path in (task.baseline, task.reference):
        key.update(path.read_bytes() if path is not None else b"")
    key.update(" ".join(version(package) for package in task.packages).encode())
    memory = task.folder / "validation.json"
    if memory.exists():
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known.get("key") == key.hexdigest():
            programs = {
                name: None if known[name] is None else ProgramScore(**known[name]) for name in ("baseline", "reference")
            }
            return Validation(task.id, programs["baseline"], programs["reference"])
    validation = await validate_task(task, sandbox)
    try:
        memory.write_text(json.dumps({"key": key.hexdigest(), **asdict(validation)}, indent=2), encoding="utf-8")
    except OSError as error:  # a read-only task folder is fine, it is only measured again next time
        logger.info("The validation of %s is not remembered: %s", task.id, error)
    return validation
