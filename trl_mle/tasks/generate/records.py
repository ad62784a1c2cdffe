"""Records of a generation: one small file per table, from which an interrupted generation goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from trl_mle.errors import TaskError


@dataclass(frozen=True)
class TaskRecord:
    """One target of a table: the task that was made of it, or why none was."""

    id: str
    target: str
    kind: str
    """`regression`, `binary` or `multi-class`."""
    metric: str
    kept: bool
    reason: str = ""
    """Why it is refused, in one of few phrases; empty if it is kept."""
    detail: str = ""
    """Figures of the refusal."""
    split: str = ""
    """`random`, `group: column` or `time: column`."""
    train_rows: int = 0
    public_rows: int = 0
    private_rows: int = 0
    features: int = 0
    leaks: Mapping[str, str] = field(default_factory=dict)
    """Columns that were dropped because they give the target away, with the reason."""
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """`PartScores` of the public and the private part."""
    baseline_s: float = 0.0
    """CPU seconds of the baseline on the machine of the generation."""
    reference_s: float = 0.0
    """CPU seconds of the reference."""
    digest: str = ""
    """Digest of the task folder."""


@dataclass(frozen=True)
class TableRecord:
    """What became of one table."""

    key: str
    source: str
    name: str
    title: str
    family: str
    rows: int = 0
    """Rows of the table as it is stored."""
    columns: int = 0
    dropped: Mapping[str, str] = field(default_factory=dict)
    """Columns that no task of the table has, with the reason."""
    duplicate_rows: int = 0
    """Rows that were dropped because an equal one is there."""
    disguised: bool = False
    stamp: str = ""
    """Digest of the table. With another content, the table is tried again."""
    reason: str = ""
    """Why the table gives no task at all."""
    detail: str = ""
    tasks: tuple[TaskRecord, ...] = ()

    @property
    def kept(self) -> tuple[TaskRecord, ...]:
        """The tasks that are kept."""
        return tuple(task for task in self.tasks if task.kept)


def write_atomically(path: Path, text: str) -> None:
    """Write a file that is whole or as it was before, also after a crash of the machine."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_record(folder: Path, record: TableRecord) -> None:
    """Write the record of a table into the folder of records."""
    write_atomically(folder / f"{record.key}.json", json.dumps(asdict(record), indent=1, ensure_ascii=False) + "\n")


def read_record(folder: Path, key: str) -> TableRecord | None:
    """The record of a table, or `None` if it has none yet.

    Raises:
        TaskError: the file is no record.
    """
    path = folder / f"{key}.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        tasks = tuple(TaskRecord(**_known(TaskRecord, task)) for task in data.pop("tasks"))
        return TableRecord(**_known(TableRecord, data), tasks=tasks)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TaskError(
            f"{path} is no record of a table ({error}); remove it, and the table is tried again."
        ) from error


def _known(kind: type, data: dict[str, Any]) -> dict[str, Any]:
    return {each.name: data[each.name] for each in fields(kind) if each.name in data}


def folder_digest(folder: Path) -> str:
    """Digest of all files of a folder: names, permissions and content."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_mode:o}\0".encode("utf-8", "replace"))
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
