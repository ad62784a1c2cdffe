"""Programs that training has stood still for, remembered on disk, so that a resumed run does not stand still for them again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trl_mle.training.overlap.in_flight import Row

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""After a resume a program gets this many times the seconds for which it had already been seen to run."""
MAX_STARTS = 2
"""Starts of a program that training has stood still for each time. It is not started once more."""


class Stragglers:
    """Notes which programs run while training stands still, and limits them once the run is resumed.

    A checkpoint cannot say it: checkpoints are written between steps, and a run that stands still writes none. So the notes
    are a file of their own, which outlives a `kill -9`. They name a program by its tokens, so that a completion which a
    resumed run generates once more is known as well.

    A program without a time limit would hold up the run after every resume. One that is merely slow must not be lost for it,
    or a policy would gain by slow programs. Therefore nothing is given up while a run goes on, and nothing is noted of reward
    functions that say that their programs have a time limit. After a resume a noted program gets twice the seconds that were
    noted, and none if it was noted in two runs. What is given up is an infrastructure fault: it has no reward and no duration.

    Args:
        folder (`Path`):
            The `output_dir` of the run. Each process writes `stragglers_<process>.json` and reads the files of all.
        process (`int`):
            Index of this process.
    """

    def __init__(self, folder: Path, process: int):
        self._folder = folder
        self._path = folder / f"stragglers_{process}.json"
        self._before: dict[str, dict[str, float]] = {}  # notes of the runs before this one
        self._noted: dict[str, dict[str, float]] = {}

    def resume(self) -> None:
        """Read the notes of the run that is resumed. A damaged file counts as none."""
        for path in sorted(self._folder.glob("stragglers_*.json")):
            try:
                notes = json.loads(path.read_text(encoding="utf-8"))
                read = {
                    key: {"seconds": float(note["seconds"]), "starts": int(note["starts"])}
                    for key, note in notes.items()
                }
            except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
                logger.warning("%s is damaged (%s), so its programs are waited for again.", path, error)
                continue
            self._before.update(read)
        self._noted = dict(self._before)

    def limit(self, row: Row) -> float | None:
        """Seconds that the program of `row`, which is about to start, may take; 0 if it is not to be started at all.

        `None` for programs that no run has stood still for, which are waited for however long they take.
        """
        note = self._before.get(_key(row)) if self._before else None
        if note is None:
            return None
        return 0.0 if note["starts"] >= MAX_STARTS else PATIENCE * note["seconds"]

    def note(self, rows: Iterable[Row], reward_funcs: Sequence[Any], after_s: float) -> None:
        """Write down those of `rows` whose programs have run for `after_s` seconds, while training stands still.

        Nothing is noted if all of `reward_funcs` have an attribute `has_time_limit` that is true: their programs end by
        themselves.
        """
        if all(getattr(func, "has_time_limit", False) for func in reward_funcs):
            return
        for row in rows:
            seconds = time.monotonic() - row.began
            if row.future is not None and seconds >= after_s:
                self._note(row, seconds)
        self._write()

    def give_up(self, rows: Sequence[Row]) -> None:
        """Keep in mind that `rows` were given up, in case the run is resumed from an earlier checkpoint."""
        for row in rows:
            logger.warning(
                "A program is given up as an infrastructure fault, and its completion trained on without a reward: training had "
                "stood still for it before it was resumed, and it has no result after %.0f s more. Give programs a time limit.",
                row.waited_s,
            )
            self._note(row, row.waited_s or 0.0)
        if rows:
            self._write()

    def forget(self, rows: Iterable[Row]) -> None:
        """Drop the notes of `rows` that have a result."""
        if self._noted and [self._noted.pop(_key(row), None) for row in rows if not row.given_up]:
            self._write()

    def end(self) -> None:
        """Training has ended, so nothing is left to be remembered."""
        self._before, self._noted = {}, {}
        self._write()

    def _note(self, row: Row, seconds: float) -> None:
        before = self._before.get(_key(row), {})
        self._noted[_key(row)] = {
            "seconds": round(max(seconds, before.get("seconds", 0.0)), 3),
            "starts": 1 + int(before.get("starts", 0)),
        }

    def _write(self) -> None:
        # Notes are a convenience: a full disk must not end a run for them.
        try:
            if not self._noted:
                self._path.unlink(missing_ok=True)
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(self._noted), encoding="utf-8")
            os.replace(partial, self._path)
        except OSError as error:
            logger.warning("%s cannot be written: %s", self._path, error)


def _key(row: Row) -> str:
    tokens = json.dumps([list(map(int, row.prompt_ids)), list(map(int, row.completion_ids))])
    return hashlib.sha256(tokens.encode()).hexdigest()
