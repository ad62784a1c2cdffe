"""`SampleStore`: every sample of an evaluation in one SQLite file, written as soon as it exists, so that a kill loses nothing."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Literal

from trl_mle.errors import ConfigError
from trl_mle.language_models.sampling import Sample
from trl_mle.outcomes import from_row, to_row
from trl_mle.types import Outcome

SampleKind = Literal["scratch", "improve", "agent", "program"]
"""`scratch`, `improve`: kinds of prompts. `agent`: an episode of several turns. `program`: the task's own program."""

STORE_FILE = "samples.sqlite"
EVALUATION = "an evaluation"
RESCORED = "rollouts that were scored again"
"""What the samples of a store are of."""
APPLICATION_ID = 0x6D6C6576
"""Marks an SQLite file as a store of samples: "mlev"."""
VERSION = 1
_CREATE = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE policies (name TEXT PRIMARY KEY, identity TEXT NOT NULL);
CREATE TABLE prompts (hash TEXT PRIMARY KEY, messages TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE samples (
    policy TEXT NOT NULL, task TEXT NOT NULL, kind TEXT NOT NULL, number INTEGER NOT NULL, seed INTEGER NOT NULL,
    prompt TEXT, sample TEXT NOT NULL, outcome TEXT, turns TEXT,
    PRIMARY KEY (policy, task, kind, number)
);
"""


@dataclass(frozen=True)
class Place:
    """The samples of one policy on one task with one kind of prompt."""

    policy: str
    task_id: str
    kind: SampleKind


@dataclass(frozen=True)
class SampleRecord:
    """One sample, and what became of it."""

    place: Place
    number: int
    """Number of the sample at its place, from 0. Equal numbers of two policies have equal seeds."""
    seed: int
    sample: Sample
    outcome: Outcome | None
    """`None` until it is scored. An outcome of the kind `fault` is scored again when the evaluation is resumed."""
    turns: str | None = None
    """JSON text of the turns of an episode."""


class SampleStore:
    """The samples of an evaluation, in the file `samples.sqlite` of its folder.

    What a method has written is there after a `kill -9`. Texts are kept as JSON, so that any text of a policy can be stored.

    Args:
        folder (`Path`, *optional*):
            Folder of the evaluation, made if it does not exist. Defaults to a store in memory.
        read_only (`bool`, *optional*, defaults to `False`):
            Whether the store is only read. Another process may then write to it.

    Raises:
        ConfigError: the file is no store of samples, has a newer version, or another process evaluates into the folder.
    """

    def __init__(self, folder: Path | None = None, *, read_only: bool = False):
        self.folder = folder
        self.read_only = read_only
        self._lock: IO[bytes] | None = None
        if folder is None:
            self._database = sqlite3.connect(":memory:")
        else:
            path = folder / STORE_FILE
            if read_only and not path.exists():
                raise ConfigError(f"There is no evaluation in {folder}: it has no {STORE_FILE}.")
            if not read_only:
                self._lock = _locked(folder)
            try:
                self._database = sqlite3.connect(path.resolve().as_uri() + ("?mode=ro" if read_only else ""), uri=True)
            except sqlite3.OperationalError as error:
                if self._lock is not None:
                    self._lock.close()
                raise ConfigError(f"{path} cannot be opened: {error}. Give another folder.") from error
        try:
            self._prepare(read_only)
        except BaseException:
            self.close()
            raise

    def _prepare(self, read_only: bool) -> None:
        try:
            (application,) = self._database.execute("PRAGMA application_id").fetchone()
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            empty = not self._database.execute("SELECT 1 FROM sqlite_schema").fetchone()
            if empty and application == 0 and not read_only:
                # One transaction: a process that is killed here leaves an empty file, not half a store.
                self._database.executescript(f"BEGIN;{_CREATE}COMMIT;")
            elif application != APPLICATION_ID:
                raise ConfigError(f"{self.folder}/{STORE_FILE} is no store of samples. Give another folder.")
            elif version > VERSION:
                raise ConfigError(
                    f"{self.folder}/{STORE_FILE} has version {version}, newer than {VERSION}. Upgrade trl_mle."
                )
            if not read_only:
                self._database.execute("PRAGMA journal_mode = WAL")
                self._database.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"{self.folder}/{STORE_FILE} cannot be used: {error}. Give another folder.") from error

    def __enter__(self) -> SampleStore:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release the folder. A second call does nothing."""
        self._database.close()
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction. A full disk is an error of the user, who can go on from what was stored before."""
        try:
            with self._database:
                yield
        except sqlite3.OperationalError as error:
            raise ConfigError(
                f"{self.folder}/{STORE_FILE} cannot be written: {error}. What was stored before is kept: free some space, and run "
                "the same command again."
            ) from error

    def note(self, name: str) -> Any:
        """A value that [`set_note`] has stored, or `None`."""
        row = self._database.execute("SELECT value FROM notes WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_note(self, name: str, value: Any) -> None:
        """Store a value that JSON can hold, in place of an earlier one of that name."""
        with self._writing():
            self._database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (name, json.dumps(value)))

    def claim(self, purpose: str) -> None:
        """Say what the samples are of; raise `ConfigError` if they are of something else."""
        before = self.note("purpose")
        if before is None and not self.read_only:
            self.set_note("purpose", purpose)
        elif before not in (None, purpose):
            raise ConfigError(f"{self.folder} holds {before}, not {purpose}. Give another folder.")

    def identify(self, policy: str, identity: str) -> None:
        """Raise `ConfigError` if the name stands for another policy than before."""
        row = self._database.execute("SELECT identity FROM policies WHERE name = ?", (policy,)).fetchone()
        if row is not None and row[0] != identity:
            raise ConfigError(
                f"The policy {policy!r} is not the one that {self.folder} has samples of ({row[0]} before, {identity} now). Give "
                "it another name (`NAME=...`), or another folder."
            )
        with self._writing():
            self._database.execute("INSERT OR IGNORE INTO policies VALUES (?, ?)", (policy, identity))

    def policies(self) -> list[str]:
        """Names of the policies, in the order in which they came."""
        return [name for (name,) in self._database.execute("SELECT name FROM policies ORDER BY rowid")]

    def prompt_hash(self, place: Place, messages: Sequence[Mapping[str, Any]]) -> str:
        """Store a prompt and return its hash.

        Raises:
            ConfigError: samples of this place have another prompt, so that they cannot be continued.
        """
        text = json.dumps(list(messages), sort_keys=True)
        digest = sha256(text.encode()).hexdigest()
        others = self._database.execute(
            "SELECT 1 FROM samples WHERE policy = ? AND task = ? AND kind = ? AND prompt IS NOT ? LIMIT 1",
            (*_key(place), digest),
        ).fetchone()
        if others is not None:
            raise ConfigError(
                f"The prompt of {place.task_id} ({place.kind}) is not the one that {self.folder} has samples of: the task, its "
                "time limit or this package has changed. Give another folder."
            )
        with self._writing():
            self._database.execute("INSERT OR IGNORE INTO prompts VALUES (?, ?)", (digest, text))
        return digest

    def prompt(self, place: Place) -> list[dict[str, Any]] | None:
        """The prompt of the samples at a place; `None` before the first one."""
        row = self._database.execute(
            "SELECT messages FROM prompts JOIN samples ON hash = prompt WHERE policy = ? AND task = ? AND kind = ? LIMIT 1",
            _key(place),
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def add(
        self, place: Place, numbers: Sequence[int], seeds: Sequence[int], samples: Sequence[Sample], prompt: str | None
    ) -> None:
        """Store samples that are not scored yet: all of them, or none if the process is killed."""
        rows = [
            (*_key(place), number, seed, prompt, json.dumps(asdict(sample)))
            for number, seed, sample in zip(numbers, seeds, samples, strict=True)
        ]
        with self._writing():
            self._database.executemany(
                "INSERT INTO samples (policy, task, kind, number, seed, prompt, sample) VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    def set_outcome(self, place: Place, number: int, outcome: Outcome, turns: str | None = None) -> None:
        """Store what became of a sample."""
        with self._writing():
            self._database.execute(
                "UPDATE samples SET outcome = ?, turns = ? WHERE policy = ? AND task = ? AND kind = ? AND number = ?",
                (json.dumps(to_row(outcome)), turns, *_key(place), number),
            )

    def put_scored(self, record: SampleRecord, prompt: str | None) -> None:
        """Store a sample with its outcome, if it has one, in place of an earlier one of that number: all of it, or nothing."""
        outcome = None if record.outcome is None else json.dumps(to_row(record.outcome))
        with self._writing():
            self._database.execute(
                "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *_key(record.place),
                    record.number,
                    record.seed,
                    prompt,
                    json.dumps(asdict(record.sample)),
                    outcome,
                    record.turns,
                ),
            )

    def records(self, place: Place) -> list[SampleRecord]:
        """The samples of a place by number."""
        rows = self._database.execute(
            "SELECT number, seed, sample, outcome, turns FROM samples WHERE policy = ? AND task = ? AND kind = ? ORDER BY number",
            _key(place),
        )
        return [
            SampleRecord(
                place,
                number,
                seed,
                Sample(**json.loads(sample)),
                None if outcome is None else from_row(json.loads(outcome)),
                turns,
            )
            for number, seed, sample, outcome, turns in rows
        ]

    def places(self) -> list[Place]:
        """The places with samples, in the order in which they came."""
        rows = self._database.execute(
            "SELECT policy, task, kind FROM samples GROUP BY policy, task, kind ORDER BY min(rowid)"
        )
        return [Place(*row) for row in rows]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every sample as a flat row: place, number, seed, the sample's fields, and the columns of its outcome."""
        query = "SELECT policy, task, kind, number, seed, sample, outcome, turns FROM samples ORDER BY policy, task, kind, number"
        for policy, task, kind, number, seed, sample, outcome, turns in self._database.execute(query):
            generated = {f"sample_{name}": value for name, value in json.loads(sample).items()}
            place = {"policy": policy, "task_id": task, "prompt_kind": kind, "number": number, "seed": seed}
            yield {**place, **generated, **(json.loads(outcome) if outcome else {}), "turns": turns}


def _key(place: Place) -> tuple[str, str, str]:
    return place.policy, place.task_id, place.kind


def _locked(folder: Path) -> IO[bytes]:
    """The lock of a folder, held until it is closed or the process ends. The folder is made if it does not exist."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("wb")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}. Give another folder.") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ConfigError(f"Another process evaluates into {folder}. Wait for it, or give another folder.") from error
    return file


@contextmanager
def opened(store: SampleStore | Path) -> Iterator[SampleStore]:
    """A store as it is, or the one of a folder for reading."""
    if isinstance(store, SampleStore):
        yield store
        return
    with SampleStore(store, read_only=True) as found:
        yield found
