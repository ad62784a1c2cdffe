"""Does a task work, and is there something to learn? Its reference solution must beat its baseline."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.sandboxes.base import Sandbox
from trl_mle.tasks import Task
from trl_mle.types import Split

logger = logging.getLogger(__name__)

PARTS: tuple[Split, ...] = ("public", "private")
MEMORY = "validation.json"
"""Where a task folder remembers the scores of its own programs; outside `public/`, so that no program sees it."""


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
        for split in PARTS:
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
    scores: dict[str, float] = {}
    for split in PARTS:
        grade = await asyncio.to_thread(task.grade, submission, split)
        if grade.score is None:
            raise TaskError(f"Task {task.id}: its {name} program's submission is invalid ({split}): {grade.reason}")
        scores[split] = grade.score
    return ProgramScore(scores["public"], scores["private"], execution.wall_s)


async def validate_task_once(task: Task, sandbox: Sandbox) -> Validation:
    """As `validate_task`, remembered in the task's folder until its programs or the libraries that they use change."""
    known = remembered_validation(task)
    if known is not None:
        return known
    validation = await validate_task(task, sandbox)
    content = {"key": _key(task), **asdict(validation)}
    try:
        (task.folder / MEMORY).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:  # a read-only task folder is fine, it is only measured again next time
        logger.info("The validation of %s is not remembered: %s", task.id, error)
    return validation


def remembered_validation(task: Task) -> Validation | None:
    """What `validate_task_once` measured on this machine earlier, if it still holds."""
    memory = task.folder / MEMORY
    if not memory.exists():
        return None
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["key"] != _key(task):
            return None
        own = {
            name: None if known[name] is None else ProgramScore(**known[name]) for name in ("baseline", "reference")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:  # half-written or of another version: measured again
        logger.info("The remembered validation of %s cannot be used: %s", task.id, error)
        return None
    return Validation(task.id, own["baseline"], own["reference"])


def _key(task: Task) -> str:
    """Changes with the task's programs, its answers and the versions of the packages that programs may import."""
    digest = hashlib.sha256()
    for path in (task.baseline, task.reference, task.private_dir / "answers.csv"):
        digest.update(path.read_bytes() if path is not None else b"")
    for package in task.packages:
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:  # programs may do without it
            digest.update(f"{package} is not installed".encode())
    return digest.hexdigest()
