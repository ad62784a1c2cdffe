"""`ExperienceStore`: every outcome of a run in one SQLite file, and the choice of an earlier program to build on."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from trl_mle.errors import ConfigError, StoreError
from trl_mle.experience.accounting import insert, rebuild
from trl_mle.experience.entries import Entry, checked, entry_of, experience_of, to_json
from trl_mle.experience.export import EXPORT_FILE, push, write_parquet
from trl_mle.experience.history import begin_segment
from trl_mle.experience.importing import STORE_FILE, import_rows
from trl_mle.experience.records import Experience, fact_of
from trl_mle.experience.selection import STRATEGIES
from trl_mle.experience.selection.pool import Pool, pick
from trl_mle.experience.transactions import Database
from trl_mle.hub_files import is_hub_name, pull_files
from trl_mle.types import Outcome, PromptKind, TaskSpec

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


class ExperienceStore:
    """A store of outcomes, made if it does not exist.

    Several threads and processes of one machine may add to the same file; a writer waits for another one. After `kill -9` at any
    moment, everything whose `add` had returned is there. Of the newest additions, a loss of power may take those since the last
    `sync`. The file must not be on a network file system if several machines use it: SQLite's log needs shared memory. A process
    that was forked while the store was open may use it for as long as its parent keeps it open.

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
        return self.add_entries([entry_of(row) for row in rows])

    def add_entries(self, entries: Sequence[Entry]) -> list[int]:
        """Store outcomes, all or none, and return their ids. Errors are those of `add`."""
        # What takes time is done before the file is locked.
        prepared = [(fact_of(*entry), to_json(entry.outcome)) for entry in map(checked, entries)]
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
            begin_segment(db, newest, position)
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

    def export(self, path: str | Path) -> int:
        """Write everything that counts to a Parquet file, whole or not at all, and return the number of rows.

        The columns are `id`, those of `outcomes.to_row` (the private score is one of them), `prompt_kind`, `parent_id`, `step` and
        `depth`.

        Raises:
            StoreError: the file cannot be written or is this store itself, or an outcome is damaged.
        """
        if Path(path).exists() and Path(path).samefile(self.path):
            raise StoreError(f"{path} is this store itself; an export would take its place. Give another path.")
        return write_parquet(self._pages(), Path(path))

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload an export to a data set of the Hugging Face Hub, made if it does not exist, and return its address.

        Args:
            repo_id (`str`):
                Name of the data set, `"user/name"`.
            private (`bool`, *optional*, defaults to `True`):
                Whether a new data set is private: programs and what they printed are the policy's, and may quote the data.
            token (`str`, *optional*):
                A token that may write; by default that of `hf auth login`.

        Raises:
            StoreError: the Hub cannot be reached or refuses.
        """
        return push(self._pages(), repo_id, private=private, token=token)

    def import_from(self, path: str | Path, *, tasks: Collection[str] | str | None = None) -> int:
        """Add the experience of another run, all of it or nothing, and return the number of outcomes.

        Args:
            path (`str` or `Path`):
                A store, a Parquet file of `export`, `hub:user/name` of `push_to_hub`, or the folder of a run. Of a folder, its
                store (`experience.sqlite`) is taken, else its export (`experience.parquet`), else its rollouts, which do not know
                their parents' outcomes.
            tasks (collection of `str`, or one `str`, *optional*):
                Ids of the tasks to take; all by default.

        Parents keep their children, whatever the new ids. A child whose parent is not taken has none. Rewards are taken as they
        are: those of another reward configuration cannot be compared with new ones.

        Raises:
            StoreError: there is no experience of `tasks` at `path`, or it is damaged, of a newer version, or this store itself.
            ConfigError: the data set cannot be read.
        """
        source = pull_files(str(path), [EXPORT_FILE]) if is_hub_name(path) else Path(path)
        # Of a folder, `import_rows` reads this file; it would be doubled.
        if any(own.exists() and own.samefile(self.path) for own in (source, source / STORE_FILE)):
            raise StoreError(f"{source} is this store itself; give another one.")
        # A text is a collection, too: of its characters.
        wanted = [tasks] if isinstance(tasks, str) else tasks
        with self._database.write() as db:
            return import_rows(db, source, wanted)

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
        """Every experience that counts, in the order of insertion. What is added during the iteration is left out."""
        for page in self._pages():
            yield from map(experience_of, page)

    def __enter__(self) -> ExperienceStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ExperienceStore({str(self.path)!r})"

    def __reduce__(self) -> tuple:
        # A copy in another process opens the file itself.
        return partial(ExperienceStore, read_only=self._database.read_only), (self.path,)

    def _pages(self) -> Iterator[list[tuple]]:
        """Rows of everything that counts, some at a time: no lock is held while a caller works on them.

        What is added meanwhile is left out, so a caller that adds comes to an end.
        """
        last, end = 0, self.position
        while True:
            with self._database.read() as db:
                page = db.execute(
                    f"{_SELECT} NOT superseded AND experiences.id > ? AND experiences.id <= ? ORDER BY experiences.id LIMIT ?",
                    (last, end, PAGE),
                ).fetchall()
            if not page:
                return
            yield page
            last = page[-1][0]

    def _get(self, db: sqlite3.Connection, id_: int) -> Experience:
        row = db.execute(f"{_SELECT} experiences.id = ?", (int(id_),)).fetchone()
        if row is None:
            raise StoreError(f"The experience store {self.path} has no experience {id_}.")
        return experience_of(row)


def task_id_of(task: TaskSpec | str) -> str:
    """The id of a task, or the id itself."""
    return task.id if isinstance(task, TaskSpec) else task


def _position(db: sqlite3.Connection) -> int:
    newest = db.execute("SELECT id FROM experiences WHERE NOT superseded ORDER BY id DESC LIMIT 1").fetchone()
    return newest[0] if newest else 0


def _count(db: sqlite3.Connection) -> int:
    return db.execute("SELECT sum(experiences) FROM tasks").fetchone()[0] or 0
