"""`CachedScorer`: a `ProgramScorer` that runs a program once and keeps its outcome in a file."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Hashable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from trl_mle.outcomes import from_row, stored, to_row
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.tasks import Task
from trl_mle.types import Limits, Outcome, Program


class CachedScorer(ProgramScorer):
    """A [`ProgramScorer`] that looks for the outcome of a program in a file before it runs the program.

    It is for deterministic programs that return often, such as demonstrations and those of a small policy. A program that
    returns gets the reward and the seconds of its first run. The key of an outcome holds the task and its files, the limits,
    the reward and the code. Outcomes are as `stored` keeps them: with shortened output, and without the submission. Faults are
    not kept. A program finds no files of an earlier one and leaves none.

    Args:
        scorer ([`ProgramScorer`]):
            Gives sandbox, instrumenter, reward and limits.
        path (`Path`):
            An SQLite file, which several processes may use. It is made if it does not exist.
    """

    def __init__(self, scorer: ProgramScorer, path: Path):
        super().__init__(
            scorer.sandbox, scorer.instrumenter, scorer.config, wall_s=scorer.wall_s, memory_bytes=scorer.memory_bytes
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # One transaction a statement: several runs share the file.
        self._file = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, outcome TEXT NOT NULL)")
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._states: dict[Path, list[tuple[str, int, int]]] = {}
        self.hits = 0
        """Programs whose outcome was known."""
        self.runs = 0
        """Programs that were run."""

    def close_file(self) -> None:
        """Close the file. A second call does nothing."""
        self._file.close()

    async def score_program(
        self,
        program: Program,
        task: Task,
        group: Hashable = None,
        *,
        limits: Limits | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """See [`ProgramScorer.score_program`]. Files are passed over: the outcome must depend on the program alone."""
        if limits is not None:
            limits = replace(limits, keep_bytes=0)
        key = self._key(program, task, limits)
        row = self._file.execute("SELECT outcome FROM rows WHERE key = ?", (key,)).fetchone()
        if row is not None:
            self.hits += 1
            return replace(from_row(json.loads(row[0])), program=program)
        if key not in self._running:
            self.runs += 1
            self._running[key] = asyncio.create_task(super().score_program(program, task, group, limits=limits))
            self._running[key].add_done_callback(lambda _: self._running.pop(key, None))
        # Shielded: one of several who wait may be cancelled.
        outcome = stored(await asyncio.shield(self._running[key]))
        if outcome.kind != "fault":
            self._file.execute("INSERT OR IGNORE INTO rows VALUES (?, ?)", (key, json.dumps(to_row(outcome))))
        return replace(outcome, program=program)

    def _key(self, program: Program, task: Task, limits: Limits | None) -> str:
        parts = (
            task.id,
            self._state(task),
            _settings(self.limits_for(task)),
            [] if limits is None else [("limits", _settings(limits))],
            _settings(self.config),
            type(self.instrumenter).__name__,
            program.code,
        )
        return hashlib.sha256(repr(parts).encode(errors="surrogatepass")).hexdigest()

    def _state(self, task: Task) -> list[tuple[str, int, int]]:
        """Name, size and time of change of the task's files, read once."""
        if task.folder not in self._states:
            files = sorted(path for path in task.folder.glob("p*/**/*") if path.is_file())
            self._states[task.folder] = [
                (str(path.relative_to(task.folder)), (state := path.stat()).st_size, state.st_mtime_ns)
                for path in files
            ]
        return self._states[task.folder]


def _settings(config: Any) -> Any:
    """The fields of a dataclass that are not at their default: a new field does not change the key of what is known."""
    if not is_dataclass(config):
        return config
    return {item.name: value for item in fields(config) if (value := getattr(config, item.name)) != item.default}
