"""Validation of a task: both of its own programs work, and the reference solution beats the baseline."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trl_mle.config import PoolConfig
from trl_mle.errors import TaskError
from trl_mle.instrumentation.no_instrumenter import NoInstrumenter
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.sandboxes import SandboxPool
from trl_mle.sandboxes.base import Sandbox
from trl_mle.tasks import Task
from trl_mle.types import Program, Split

logger = logging.getLogger(__name__)

PARTS: tuple[Split, ...] = ("public", "private")
MEMORY = "validation.json"
"""File of a task folder that keeps the scores of its own programs. It is outside `public/`, so no program sees it."""
LARGE = 16 * 1024**2
"""Size in bytes beyond which an answer file counts as changed if its size or time has changed."""
ONCE = PoolConfig(progress="off", retries=0, outage_s=1.0)
"""Pool around a plain sandbox: a fault is raised at once. Whoever validates shows a progress of their own."""


@dataclass(frozen=True)
class ProgramScore:
    """Scores of one of the task's own programs."""

    public: float
    """Raw score on the public part of the answers."""
    private: float
    """Raw score on the private part."""
    wall_s: float
    """Execution time in seconds."""


@dataclass(frozen=True)
class Validation:
    """Scores of a task's own programs on this machine; `None` for a program that the task does not have."""

    task_id: str
    baseline: ProgramScore | None
    reference: ProgramScore | None

    @property
    def programs(self) -> dict[str, ProgramScore]:
        """Name of each program that the task has -> its scores."""
        named = {"baseline": self.baseline, "reference": self.reference}
        return {name: score for name, score in named.items() if score is not None}


async def validate_task(task: Task, sandbox: Sandbox) -> Validation:
    """Run the task's baseline and reference solution and compare them.

    Args:
        task ([`Task`]):
            Whose programs to run. A task without programs is valid.
        sandbox ([`Sandbox`]):
            Where they run, already open, within its limits for the task.

    Raises:
        TaskError: one of them fails or has no valid submission, or the reference does not beat the baseline on both
            parts of the answers.
        SandboxError: the sandbox failed.
    """
    if not isinstance(sandbox, SandboxPool):
        sandbox = SandboxPool(sandbox, ONCE)
    scorer = ProgramScorer(sandbox, NoInstrumenter())
    paths = {"baseline": task.baseline, "reference": task.reference}
    scores = dict.fromkeys(paths, None) | {
        name: await _score(task, name, path, scorer) for name, path in paths.items() if path is not None
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


async def _score(task: Task, name: str, path: Path, scorer: ProgramScorer) -> ProgramScore:
    try:
        code = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"Task {task.id}: its {name} program {path} cannot be read: {error}") from error
    outcome = await scorer.score_program(Program("", code), task)
    execution = outcome.execution
    assert execution is not None
    if execution.status != "ok" or execution.submission is None:
        last = execution.stderr.strip().splitlines()[-1:] or [execution.submission_reason or "no submission.csv"]
        raise TaskError(f"Task {task.id}: its {name} program ended with status {execution.status!r}: {last[0]}")
    scores: dict[str, float] = {}
    for split, grade in zip(PARTS, (outcome.public, outcome.private), strict=True):
        if grade is None or grade.score is None:
            reason = "it could not be graded, and the log says why" if grade is None else grade.reason
            raise TaskError(f"Task {task.id}: its {name} program's submission is invalid ({split}): {reason}")
        scores[split] = grade.score
    return ProgramScore(scores["public"], scores["private"], execution.wall_s)


async def validate_task_once(task: Task, sandbox: Sandbox) -> Validation:
    """Validate as `validate_task`, and keep the result in the task's folder until its programs or their libraries change."""
    known = remembered_validation(task)
    if known is not None:
        return known
    validation = await validate_task(task, sandbox)
    content = {"key": _key(task), **asdict(validation)}
    try:
        (task.folder / MEMORY).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:  # a read-only task folder: the next run measures again
        logger.info("The validation of %s could not be kept: %s", task.id, error)
    return validation


def remembered_validation(task: Task) -> Validation | None:
    """The result that `validate_task_once` has kept, or `None` if there is none that still holds."""
    memory = task.folder / MEMORY
    if not memory.exists():
        return None
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["key"] != _key(task):
            return None
        scores = {
            name: None if known[name] is None else ProgramScore(**known[name]) for name in ("baseline", "reference")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:  # half-written, or of another version
        logger.info("The kept validation of %s cannot be read and is measured again: %s", task.id, error)
        return None
    return Validation(task.id, scores["baseline"], scores["reference"])


def _key(task: Task) -> str:
    """Digest of the task's programs, its answers and the versions of the packages that programs may import."""
    digest = hashlib.sha256()
    for path in (task.baseline, task.reference):
        digest.update(path.read_bytes() if path is not None else b"")
    for path in sorted(path for path in task.private_dir.rglob("*") if path.is_file()):
        status = path.stat()
        digest.update(str(path.relative_to(task.private_dir)).encode())
        # The content of large files, such as masks of images, would take long to read before each run.
        content = status.st_size <= LARGE
        digest.update(path.read_bytes() if content else f"{status.st_size} {status.st_mtime_ns}".encode())
    for package in task.packages:
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:  # an allowed package need not be installed
            digest.update(f"{package} is not installed".encode())
    return digest.hexdigest()
