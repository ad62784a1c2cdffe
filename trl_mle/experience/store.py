"""`ExperienceStore`: every outcome of a run in one SQLite file, and the choice of an earlier program to build on."""

from __future__ import annotations

import json
import math
import random
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, get_args

from trl_mle.errors import ConfigError, StoreError
from trl_mle.experience.accounting import account, rebuild
from trl_mle.experience.history import live_ranges
from trl_mle.experience.records import Experience, Fact, fact_of
from trl_mle.experience.selection import STRATEGIES
from trl_mle.experience.selection.pool import Pool, pick
from trl_mle.experience.transactions import Database
from trl_mle.outcomes import PromptKind, RunColumn, from_row, to_row
from trl_mle.types import Outcome, TaskSpec

STORE_FILE = "experience.sqlite"
"""Name of the store in the folder of a run."""
RECENT_FAILURES = 64
"""Newest failed programs that `choose_failed` chooses from."""
PAGE = 256
"""Outcomes that are read at a time, so that memory does not grow with the store."""

_SELECT = (
    "SELECT experiences.id, prompt_kind, parent_id, step, depth, content FROM experiences JOIN rows USING (id) WHERE "
)


class TaskSummary(NamedTuple):
    """What a store holds of one task."""

    task_id: str
    experiences: int
    valid: int
    candidates: int
    """Distinct valid programs."""
    best_reward: float | None
    depth: int
    """Depth of the longest lineage."""
    children: int
    """Tries to improve a valid program."""
    children_better: int


class Entry(NamedTuple):
    """An outcome that is about to be stored."""

    outcome: Outcome
    prompt_kind: PromptKind = "scratch"
    parent_id: int | None = None
    step: int | None = None


class ExperienceStore:
    """A store of outcomes, made if it does not exist.

    Several threads and processes of one machine may add to the same file; a writer waits for another one. After `kill -9` at any
    moment, everything whose `add` had returned is there. Of the newest additions, a loss of power may take those since the last
    `sync`. The file must not be on a network file system if several machines use it: SQLite's log needs shared memory.

    Args:
        path (`str` or `Path`):
            The SQLite file. Its folder must exist. SQLite keeps `path-wal` and `path-shm` beside it while it is open.
        read_only (`bool`, *optional*, defaults to `False`):
            Whether to look only: nothing is written, and the file must exist.

    Raises:
        StoreError: the file is no store, has a newer version, is damaged, or cannot be read or written. It is left as it is.

    Example:

    ```python
    store = ExperienceStore("runs/computers/experience.sqlite")
    parent = store.choose_parent("builtin:computers", "diverse", random.Random(0))
    prompt = build_prompt(task, parent.outcome if parent else None)
    ...
    store.add(outcome, prompt_kind="improve", parent=parent.id, step=12)
    ```
    """

    def __init__(self, path: str | Path, *, read_only: bool = False):
        self.path = Path(path)
        self._database = Database(self.path, read_only=read_only)

    def add(
        self,
        outcome: Outcome,
        *,
        prompt_kind: PromptKind = "scratch",
        parent: int | None = None,
        step: int | None = None,
    ) -> int:
        """Store one outcome, and return its id.

        Args:
            outcome ([`Outcome`]):
                The outcome; faults of the infrastructure are kept, too, and count for nothing.
            prompt_kind (`str`, *optional*, defaults to `"scratch"`):
                What its prompt asked for: `"scratch"`, `"improve"` or `"debug"`.
            parent (`int`, *optional*):
                Id of the earlier outcome that the prompt showed.
            step (`int`, *optional*):
                Optimizer steps before the program was written.

        Raises:
            ConfigError: an unknown kind of prompt, or a parent that is not in the store or of another task.
            StoreError: the file cannot be written. Nothing was added, and nothing is lost.
        """
        return self.add_entries([Entry(outcome, prompt_kind, parent, step)])[0]

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> list[int]:
        """Store outcomes as rows, all or none, and return their ids.

        A row is that of `outcomes.to_row` with `prompt_kind`, `parent_id` and `step`, each of which may be missing. Other columns
        are left out.

        Raises:
            ConfigError: a row without an outcome (its completion was lost before it was scored), and as for `add`.
            StoreError: as for `add`.
        """
        return self.add_entries([_entry_of(row) for row in rows])

    def add_entries(self, entries: Sequence[Entry]) -> list[int]:
        """Store outcomes, all or none, and return their ids. Errors are those of `add`."""
        # Everything that takes time is done before the file is locked.
        prepared = [(fact_of(*entry), _to_json(entry.outcome)) for entry in map(_checked, entries)]
        with self._database.write() as db:
            return [insert(db, fact, content) for fact, content in prepared]

    def choose_parent(
        self, task: TaskSpec | str, strategy: str = "score_weighted", rng: random.Random | None = None
    ) -> Experience | None:
        """An earlier valid program of `task` to improve, or `None` if there is none.

        Args:
            task ([`Task`] or `str`):
                The task, or its id.
            strategy (`str`, *optional*, defaults to `"score_weighted"`):
                A name of `STRATEGIES`: `"latest"`, `"uniform"`, `"score_weighted"`, `"diverse"` or `"learnability"`.
            rng (`random.Random`, *optional*):
                Random numbers. The same ones, with the same additions in the same order, give the same program, whatever the ids.

        Raises:
            ConfigError: an unknown strategy.
        """
        if strategy not in STRATEGIES:
            raise ConfigError(f"strategy={strategy!r} is unknown; choose one of {', '.join(STRATEGIES)}.")
        with self._database.read() as db:
            pool = Pool(db, task_id_of(task))
            if not pool.size:
                return None
            chosen = STRATEGIES[strategy](pool, rng or random.Random())
            return self._get(db, chosen.id)

    def choose_failed(self, task: TaskSpec | str, rng: random.Random | None = None) -> Experience | None:
        """One of the 64 newest failed programs of `task`, for a prompt that asks to repair it, or `None` if there is none.

        Time-outs are not among them: nothing is known to be wrong with such a program. Copies count once.
        """
        with self._database.read() as db:
            newest = db.execute(
                "SELECT id, fingerprint FROM experiences WHERE task_id = ? AND kind = 'failure' AND fingerprint IS NOT NULL"
                " AND NOT superseded ORDER BY id DESC LIMIT ?",
                (task_id_of(task), RECENT_FAILURES),
            ).fetchall()
            distinct = list({name: id_ for id_, name in newest}.values())
            return self._get(db, distinct[pick(len(distinct), rng or random.Random())]) if distinct else None

    def best(self, task: TaskSpec | str, n: int = 1) -> list[Experience]:
        """The `n` valid programs of `task` with the highest rewards, best first; of equal ones the newer. Copies count once."""
        with self._database.read() as db:
            return [self._get(db, candidate.id) for candidate in Pool(db, task_id_of(task)).best(n)]

    def get(self, id: int) -> Experience:
        """The experience with this id, also if a rewind has superseded it.

        Raises:
            StoreError: the store never gave that id.
        """
        with self._database.read() as db:
            return self._get(db, id)

    @property
    def position(self) -> int:
        """Id of the newest experience that counts, 0 for an empty store. `rewind` to it leads back to the present state."""
        with self._database.read() as db:
            return _position(db)

    def sync(self) -> int:
        """Wait until everything is on the disk, and return `position`. A checkpoint of a run stores what this returns."""
        self._database.sync()
        return self.position

    def rewind(self, position: int) -> int:
        """Go back to the state in which the store was at `position`, and return how many experiences that count less.

        What was added later no longer counts for anything, but `get` still finds it. A position that an earlier rewind had left
        is reached, too. The same additions and random numbers then lead to the same choices as if nothing had been in between.

        Raises:
            StoreError: the store never was at that position: it is not that of the checkpoint.
        """
        with self._database.write() as db:
            position = int(position)
            newest = db.execute("SELECT max(id) FROM rows").fetchone()[0] or 0
            if not 0 <= position <= newest:
                raise StoreError(
                    f"The experience store {self.path} was never at position {position}: its newest id is {newest}. Is it the "
                    "store of the run that is resumed?"
                )
            if position == _position(db):
                return 0
            before = _count(db)
            # Nothing was added since an earlier rewind to here: the newer one takes its place.
            ranges = live_ranges(db, position)
            db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (newest, position))
            db.execute("UPDATE experiences SET superseded = 1 WHERE NOT superseded")
            for start, end in ranges:
                db.execute("UPDATE experiences SET superseded = 0 WHERE id > ? AND id <= ?", (start, end))
            rebuild(db)
            return before - _count(db)

    def tasks(self) -> list[TaskSummary]:
        """What the store holds, task by task in the order of their names."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT task_id, experiences, valid, candidates,"
                " (SELECT max(reward) FROM candidates WHERE candidates.task_id = tasks.task_id),"
                " depth, children, children_better FROM tasks ORDER BY task_id"
            )
            return [TaskSummary(*row) for row in rows]

    def close(self) -> None:
        """Close the file. Closing again does nothing."""
        self._database.close()

    def __len__(self) -> int:
        """Number of experiences that count."""
        with self._database.read() as db:
            return _count(db)

    def __bool__(self) -> bool:
        """A store is true, empty or not."""
        return True

    def __iter__(self) -> Iterator[Experience]:
        """Every experience that counts, in the order of insertion."""
        last = 0
        while True:
            with self._database.read() as db:
                page = db.execute(
                    f"{_SELECT} NOT superseded AND experiences.id > ? ORDER BY experiences.id LIMIT ?", (last, PAGE)
                ).fetchall()
            if not page:
                return
            yield from map(_experience_of, page)
            last = page[-1][0]

    def __enter__(self) -> ExperienceStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ExperienceStore({str(self.path)!r})"

    def __reduce__(self) -> tuple:
        return ExperienceStore, (self.path,)  # a copy in another process opens the file itself

    def _get(self, db: sqlite3.Connection, id_: int) -> Experience:
        row = db.execute(f"{_SELECT} experiences.id = ?", (int(id_),)).fetchone()
        if row is None:
            raise StoreError(f"The experience store {self.path} has no experience {id_}.")
        return _experience_of(row)


def task_id_of(task: TaskSpec | str) -> str:
    """The id of a task, or the id itself."""
    return task.id if isinstance(task, TaskSpec) else task


def insert(db: sqlite3.Connection, fact: Fact, content: str) -> int:
    """Write one experience within a transaction, and return its id.

    Raises:
        ConfigError: its parent is not in the store, or of another task.
    """
    if fact.parent_id is not None:
        parent = db.execute("SELECT depth, task_id FROM experiences WHERE id = ?", (fact.parent_id,)).fetchone()
        if parent is None:
            raise ConfigError(f"`parent` is {fact.parent_id}, but the store has no such experience.")
        if parent[1] != fact.task_id:
            raise ConfigError(
                f"`parent` {fact.parent_id} is a program of the task {parent[1]!r}, and its child one of {fact.task_id!r}."
            )
        fact = fact._replace(depth=parent[0] + 1)
    cursor = db.execute("INSERT INTO rows (content) VALUES (?)", (content,))
    id_ = cursor.lastrowid
    assert id_ is not None
    marks = ", ".join("?" * len(fact))
    db.execute(f"INSERT INTO experiences (id, {', '.join(fact._fields)}) VALUES (?, {marks})", (id_, *fact))
    account(db, id_, fact)
    return id_


def _position(db: sqlite3.Connection) -> int:
    return db.execute("SELECT max(id) FROM experiences WHERE NOT superseded").fetchone()[0] or 0


def _count(db: sqlite3.Connection) -> int:
    return db.execute("SELECT sum(experiences) FROM tasks").fetchone()[0] or 0


def _checked(entry: Entry) -> Entry:
    if entry.prompt_kind not in get_args(PromptKind):
        raise ConfigError(
            f"`prompt_kind` is {entry.prompt_kind!r}; it must be one of {', '.join(get_args(PromptKind))}."
        )
    parent, step = (None if number is None else int(number) for number in (entry.parent_id, entry.step))
    return entry._replace(parent_id=parent, step=step)


def _entry_of(row: Mapping[str, Any]) -> Entry:
    kind, parent, step = (row.get(name) for name in (RunColumn.PROMPT_KIND, RunColumn.PARENT, RunColumn.STEP))
    return Entry(
        from_row(row),
        "scratch" if _is_missing(kind) else kind,  # type: ignore[arg-type]  # checked by `_checked`
        None if _is_missing(parent) else int(parent),  # type: ignore[arg-type]
        None if _is_missing(step) else int(step),  # type: ignore[arg-type]
    )


def _is_missing(value: object) -> bool:
    """Whether a table holds no value: `None`, or NaN."""
    return value is None or value != value


def _to_json(outcome: Outcome) -> str:
    """The row of `outcome` as JSON, in ASCII: lone surrogates of a policy's text have no place in an SQLite text."""
    row = to_row(outcome)
    return json.dumps({name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()})


def _experience_of(row: tuple) -> Experience:
    id_, prompt_kind, parent_id, step, depth, content = row
    return Experience(id_, from_row(json.loads(content)), prompt_kind, parent_id, step, depth)
