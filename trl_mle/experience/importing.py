"""Import: the experience of another run, from its store, an export or its rollouts.

What is read was written elsewhere. It is checked as rows are, and nothing of it is run.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError, StoreError
from trl_mle.experience.accounting import insert
from trl_mle.experience.database import errors_of, is_sqlite, open_database
from trl_mle.experience.entries import entry_of, row_of, to_json, whole_number
from trl_mle.experience.export import EXPORT_FILE, VERSION_KEY
from trl_mle.experience.records import fact_of
from trl_mle.experience.schema import STORE_VERSION
from trl_mle.outcomes import Column, RunColumn, read_rollouts

if TYPE_CHECKING:
    import pandas as pd

STORE_FILE = "experience.sqlite"
"""Name of the store in the folder of a run."""
_PAGE = 256
_FIX = "Give a store, a Parquet file that `export` wrote, or the folder of a run."


def import_rows(db: sqlite3.Connection, source: Path, tasks: Collection[str] | None) -> int:
    """Insert the outcomes of `source` within a transaction, and return their number.

    Raises:
        StoreError: there is none of `tasks`, or `source` cannot be read.
    """
    ids: dict[int, int] = {}
    count = 0
    others: Counter[str] = Counter()
    for row in _rows_of(source):
        if tasks is not None and row.get(Column.TASK_ID) not in tasks:
            others[str(row.get(Column.TASK_ID))] += 1
            continue
        try:
            entry = entry_of(row)
            old = whole_number(row, "id")
        except ConfigError as error:
            raise StoreError(f"{source} holds a row that is no outcome: {error}") from error
        # A parent that is not taken, or of rollouts, which have no ids, is unknown here.
        parent = ids.get(entry.parent_id) if entry.parent_id is not None else None
        id_ = insert(db, fact_of(entry.outcome, entry.prompt_kind, parent, entry.step), to_json(entry.outcome))
        if old is not None:
            ids[old] = id_
        count += 1
    if not count:
        found = f"; it has those of {', '.join(sorted(others)[:8])}" if others else ""
        wanted = "" if tasks is None else f" of {', '.join(sorted(tasks))}"
        raise StoreError(f"{source} holds no experience{wanted}{found}.")
    return count


def _rows_of(source: Path) -> Iterator[dict[str, Any]]:
    if source.is_dir():
        for name, read in ((STORE_FILE, _rows_of_store), (EXPORT_FILE, _rows_of_parquet)):
            if (source / name).exists():
                return read(source / name)
        if (source / "rollouts").is_dir():
            return _rows_of_rollouts(source)
        raise StoreError(f"{source} holds no {STORE_FILE}, no {EXPORT_FILE} and no rollouts. {_FIX}")
    if not source.is_file():
        raise StoreError(f"There is no {source}. {_FIX}")
    if is_sqlite(source):  # asked first: a file of Python's own must not be opened on a store (`database._header`)
        return _rows_of_store(source)
    try:
        with source.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise StoreError(f"{source} cannot be read: {error.strerror or error}. {_FIX}") from error
    return _rows_of_parquet(source) if magic == b"PAR1" else _rows_of_store(source)


def _rows_of_store(path: Path) -> Iterator[dict[str, Any]]:
    """Every experience that counts in another store, as it is at one moment."""
    with errors_of(path), closing(open_database(path, read_only=True)) as db:
        cursor = db.execute(
            "SELECT id, prompt_kind, parent_id, step, content FROM experiences JOIN rows USING (id)"
            " WHERE NOT superseded ORDER BY id"
        )
        for id_, prompt_kind, parent_id, step, content in cursor:
            own = {"id": id_, RunColumn.PROMPT_KIND: prompt_kind, RunColumn.PARENT: parent_id, RunColumn.STEP: step}
            yield {**row_of(content), **own}


def _rows_of_parquet(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            version = (file.schema_arrow.metadata or {}).get(VERSION_KEY, b"0")
            if not version.isdigit() or len(version) > 6 or int(version) > STORE_VERSION:
                raise StoreError(
                    f"{path} is an export of version {version[:6].decode(errors='replace')}, but this version of trl_mle reads at "
                    f"most {STORE_VERSION}. Upgrade trl_mle."
                )
            missing = {Column.KIND, Column.TASK_ID} - set(file.schema_arrow.names)
            if missing:
                raise StoreError(f"{path} is no export: it has no column `{min(missing)}`. {_FIX}")
            for batch in file.iter_batches(_PAGE):
                yield from batch.to_pylist()
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}. {_FIX}") from error


def check_no_agents(rollouts: pd.DataFrame, source: object) -> None:
    """Raise `StoreError` if `rollouts` are those of agents.

    A program of an episode may need the files that an earlier one left, and its row has the seconds of all of them. What the
    policy wrote are several messages, and the answers of tools stand between them.
    """
    if RunColumn.TURNS in rollouts and rollouts[RunColumn.TURNS].notna().any():
        raise StoreError(
            f"The rollouts in {source} are those of agents, whose programs build upon earlier ones of their episodes. Give a run "
            "of programs of one answer (`agent_turns: 0`)."
        )


def _rows_of_rollouts(folder: Path) -> Iterator[dict[str, Any]]:
    """The outcomes of a run that kept no store. A completion that was lost before it was scored has none."""
    rollouts = read_rollouts(folder)
    check_no_agents(rollouts, folder)
    missing = {Column.KIND, Column.TASK_ID} - set(rollouts.columns)
    if missing:
        raise StoreError(
            f"The rollouts in {folder} have no column `{min(missing)}`: they are not those of `MLEReward`."
        )
    rollouts = rollouts[rollouts[Column.KIND].notna()]
    for start in range(0, len(rollouts), _PAGE):
        for row in rollouts.iloc[start : start + _PAGE].to_dict("records"):
            # The rollouts know the ids of parents, but not their own.
            yield {name: value for name, value in row.items() if name not in ("id", RunColumn.PARENT)}
