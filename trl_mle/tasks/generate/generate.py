"""`generate_tasks`: verified tasks from the tables of packages and folders."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.generate.build import make_tasks
from trl_mle.tasks.generate.columns import MIN_ROWS
from trl_mle.tasks.generate.duplicates import Fingerprint, Relation, fingerprint, relate
from trl_mle.tasks.generate.listing import write_listing
from trl_mle.tasks.generate.records import TableRecord, read_record, write_atomically, write_record
from trl_mle.tasks.generate.settings import GenerateSettings
from trl_mle.tasks.generate.sources import list_tables, read_table
from trl_mle.tasks.generate.sources.base import SourceTable, package_version
from trl_mle.tasks.generate.workers import Job, run_jobs

if TYPE_CHECKING:
    import pandas as pd

TASKS, RECORDS, SETTINGS, LOCK = "tasks", "records", "settings.json", ".lock"
DISGUISED_PACKAGES = ("sklearn",)
"""Sources whose tables programs may import. Copies of their tables in other sources are disguised as well."""


@dataclass(frozen=True)
class Progress:
    """How far a generation is."""

    tables: int
    """Tables that are done."""
    of: int
    """All tables."""
    kept: int
    """Tasks that are kept so far."""
    table: str
    """The last table."""


def generate_tasks(
    settings: GenerateSettings,
    out: Path | str,
    processes: int = 2,
    report: Callable[[Progress], None] | None = None,
) -> list[TableRecord]:
    """Make verified task folders in `out/tasks`, with a list of them and of what was refused.

    A generation that was interrupted goes on where it was if it is started again with the same settings.

    Args:
        settings ([`GenerateSettings`]):
            Which tables, how many tasks and how they are made.
        out (`Path`):
            Folder of the generation. Made if it does not exist.
        processes (`int`, *optional*, defaults to `2`):
            Tables that are worked on at a time.
        report (`Callable`, *optional*):
            Called after each table.

    Returns:
        `list[TableRecord]`: what became of each table that was tried, in the order of the tries.

    Raises:
        TaskError: a source, a setting or `out` cannot be used, or another process generates into it.
        UserError: a package is not installed.
    """
    if processes < 1:  # nothing would be made, and what `out` holds would count as surplus
        raise TaskError(f"processes is {processes!r} (`--processes`); write a whole number of at least 1.")
    out = Path(out).expanduser()
    tables = _all_tables(settings)
    with _locked(out):
        _check_settings(out, settings)
        (out / TASKS).mkdir(exist_ok=True)
        (out / RECORDS).mkdir(exist_ok=True)
        for half_made in (out / TASKS).glob(".preparing-*"):  # of a process that was killed
            shutil.rmtree(half_made, ignore_errors=True)
        prints, unreadable = _fingerprints(tables)
        relations = relate([(table.key, prints[table.key]) for table in tables if table.key in prints])
        importable = _importable(relations, prints)
        order = sorted(tables, key=lambda table: random.Random(f"{settings.seed} {table.key}").random())
        stamps = {key: each.stamp for key, each in prints.items()}
        work = _Work(order, relations, importable, unreadable, stamps, settings, out)
        records = _surplus_removed(work, _make_all(work, processes, report))
        write_listing(out, records, settings)
    return records


@dataclass(frozen=True)
class _Work:
    """What is known about the tables before the first task is made."""

    order: list[SourceTable]
    """The order in which tables are tried."""
    relations: dict[str, Relation]
    importable: set[str]
    """Keys of the tables to disguise."""
    unreadable: dict[str, str]
    """Why a table cannot be read, by its key."""
    stamps: dict[str, str]
    """Digest of the content of each table."""
    settings: GenerateSettings
    out: Path


def _all_tables(settings: GenerateSettings) -> list[SourceTable]:
    tables = [table for source in settings.sources for table in list_tables(source)]
    seen: dict[str, SourceTable] = {}
    for table in tables:
        if (other := seen.get(table.key)) is not None:
            raise TaskError(
                f"{table.source}: {table.name} and {other.source}: {other.name} would both be called {table.key}; rename one."
            )
        seen[table.key] = table
    return tables


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock of a folder. The lock ends with the process, however it ends."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("w")
    except OSError as error:
        raise TaskError(f"{out} (`--out`) cannot be written: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TaskError(f"another process generates tasks into {out} (`--out`); wait for it.") from error
        yield


def _check_settings(out: Path, settings: GenerateSettings) -> None:
    """Keep the settings of `out`, and refuse to go on with others. A larger `count` goes on."""
    path = out / SETTINGS
    new = {key: value for key, value in asdict(settings).items() if key not in ("count", "held_out")}
    new["sources"] = list(settings.sources)
    # Another version of a library may fit another model to the last bit.
    new["versions"] = [package_version(name) for name in ("numpy", "pandas", "scipy", "scikit-learn", "trl_mle")]
    if path.exists():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise TaskError(f"{path} cannot be read ({error}); choose another folder with `--out`.") from error
        changed = [key for key in new if old.get(key) != new[key]]
        if changed:
            key = changed[0]
            raise TaskError(
                f"{out} holds tasks that were made with {key} = {old.get(key)!r}, not {new[key]!r}; choose another folder with "
                f"`--out`, or the same settings."
            )
    elif any(each.name != LOCK for each in out.iterdir()):
        raise TaskError(f"{out} (`--out`) is not empty and no folder of generated tasks; choose another.")
    write_atomically(path, json.dumps(new, indent=1) + "\n")


def _fingerprints(tables: list[SourceTable]) -> tuple[dict[str, Fingerprint], dict[str, str]]:
    """Fingerprints of the tables that can be read, and why the others cannot."""
    prints: dict[str, Fingerprint] = {}
    unreadable: dict[str, str] = {}
    for table in tables:
        frame = _read(table)
        try:
            if isinstance(frame, str):
                unreadable[table.key] = frame
            else:
                prints[table.key] = fingerprint(frame)
        except TypeError as error:  # cells that are lists or dictionaries, as Parquet may have
            unreadable[table.key] = f"cells that are no single values: {error}"
    return prints, unreadable


def _read(table: SourceTable) -> pd.DataFrame | str:
    """The table, or why it cannot be read."""
    try:
        return read_table(table)
    except (TaskError, ValueError, OSError, ArithmeticError, LookupError, TypeError) as error:
        return f"{type(error).__name__}: {str(error)[:300]}"


def _importable(relations: dict[str, Relation], prints: dict[str, Fingerprint]) -> set[str]:
    """Keys of the tables that are, or are related to, tables of packages that programs may import."""
    import importlib.util

    shipped = [(table.key, table) for name in DISGUISED_PACKAGES for table in list_tables(name)]
    if importlib.util.find_spec("sklearn") is None:
        return set()
    ours = [("\0" + key, fingerprint(read_table(table))) for key, table in shipped]
    together = relate([*ours, *prints.items()])
    families = {together[key].family for key, _ in ours}
    return {key for key in relations if together[key].family in families}


def _make_all(work: _Work, processes: int, report: Callable[[Progress], None] | None) -> list[TableRecord]:
    """Records of the tables in their order, until enough tasks are kept. What is recorded is not made again."""
    done: dict[str, TableRecord] = {}
    records, tasks = work.out / RECORDS, work.out / TASKS

    def prefix() -> list[TableRecord]:
        """Records from the first table on, up to the first one that is not done or until enough tasks are kept."""
        found: list[TableRecord] = []
        kept = 0
        for table in work.order:
            if table.key not in done or kept >= work.settings.count:
                break
            found.append(done[table.key])
            kept += len(done[table.key].kept)
        return found

    def finish(record: TableRecord) -> None:
        done[record.key] = record
        if report:
            kept = sum(len(each.kept) for each in done.values())
            report(Progress(len(done), len(work.order), kept, record.name))

    def jobs() -> Iterator[Job]:
        for table in work.order:
            if sum(len(record.kept) for record in prefix()) >= work.settings.count:
                return
            stamp = work.stamps.get(table.key, "")
            record = read_record(records, table.key)
            if record and record.stamp == stamp and all((tasks / task.id).is_dir() for task in record.kept):
                finish(record)
                continue
            frame = work.unreadable.get(table.key) or _read(table)
            if isinstance(frame, str):
                finish(_refused(work, table, "cannot be read", frame))
                continue
            relation, disguised = work.relations[table.key], table.key in work.importable
            arguments = (table, frame, relation, disguised, work.settings, tasks)
            if relation.copy_of or len(frame) < MIN_ROWS:  # refused at once, so that no process is worth it
                finish(replace(make_tasks(*arguments), stamp=stamp))
                continue
            yield Job(table.key, make_tasks, arguments)

    by_key = {table.key: table for table in work.order}
    for result in run_jobs(jobs(), processes, work.settings.table_s):
        record = result.value or _refused(work, by_key[result.job.key], result.reason, result.detail)
        record = replace(record, stamp=work.stamps.get(record.key, ""))
        write_record(records, record)
        finish(record)
    return prefix()


def _refused(work: _Work, table: SourceTable, reason: str, detail: str) -> TableRecord:
    family = work.relations[table.key].family if table.key in work.relations else table.key
    return TableRecord(table.key, table.source, table.name, table.title, family, reason=reason, detail=detail)


def _surplus_removed(work: _Work, records: list[TableRecord]) -> list[TableRecord]:
    """Leave `count` tasks: of the last table there may be more, and processes may have been ahead. Their records stay."""
    result = []
    wanted: set[str] = set()
    for record in records:
        tasks = []
        for task in record.tasks:
            if task.kept and len(wanted) >= work.settings.count:
                task = replace(task, kept=False, reason="enough tasks", digest="")
            elif task.kept:
                wanted.add(task.id)
            tasks.append(task)
        result.append(replace(record, tasks=tuple(tasks)))
    for table in work.order:
        record_of_table = read_record(work.out / RECORDS, table.key)
        for task in record_of_table.kept if record_of_table else ():
            if task.id not in wanted:
                shutil.rmtree(work.out / TASKS / task.id, ignore_errors=True)
    return result


def default_processes() -> int:
    """The CPU cores that this process may use."""
    return max(1, len(os.sched_getaffinity(0)))
