"""A cache of model answers on disk, shared by processes. An error of the cache never stops a question: it is a miss."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trl_mle.errors import missing_extra
from trl_mle.language_models.backends import Answer, Message

logger = logging.getLogger(__name__)

SIZE_BYTES = 512 * 1024**2
"""Largest size of a cache in bytes; beyond it the oldest answers are dropped."""
_MAX_ROW_CHARS = 1024**2
"""`diskcache` puts a longer text into a file of its own, which `_text_disk` refuses."""
_FAILURES = 3
"""Failed accesses in a row after which the cache is left alone for `CacheTiming.rest_s`."""


@dataclass(frozen=True)
class CacheTiming:
    """Waiting times of a `DiskCache`."""

    lock_s: float = 1.0
    """Longest wait for another process that writes, in seconds."""
    rest_s: float = 30.0
    """Time without any access after several failed ones in a row, in seconds."""


class AnswerCache(Protocol):
    """A store of answers."""

    errors: int
    """Number of accesses that failed."""

    def get(self, key: str) -> Answer | None:
        """The answer under `key`, or `None` if there is none or it cannot be read. Never raises; may block."""
        ...

    def put(self, key: str, answer: Answer) -> None:
        """Store `answer` under `key`. Never raises; may block."""
        ...


def cache_key(conversation: str | Sequence[Message], model: str, *settings: str | float | None) -> str:
    """The cache key of a question: one hash of everything that its answer depends on.

    Args:
        conversation (`str` or sequence of [`Message`]):
            The messages, or a text from which they follow together with `settings`.
        model (`str`):
            Name of the model.
        *settings (`str`, `float` or `None`):
            Further values that change the answer: version of the prompt, longest answer, temperature, seed.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    parts = json.dumps([conversation if isinstance(conversation, str) else list(conversation), model, *settings])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def default_cache_dir() -> Path:
    """Folder of instrumentation answers: `trl_mle/instrumentation` in the user's cache folder (`XDG_CACHE_HOME`)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trl_mle" / "instrumentation"


class NoCache:
    """An [`AnswerCache`] that stores nothing."""

    errors = 0

    def get(self, key: str) -> Answer | None:
        """See [`AnswerCache`]."""
        return None

    def put(self, key: str, answer: Answer) -> None:
        """See [`AnswerCache`]."""
        return None


class DiskCache:
    """An [`AnswerCache`] in a `diskcache.Cache` (SQLite) whose entries are JSON texts.

    Pickles, which `diskcache` would load, are refused. A folder that cannot be used, a damaged file and a lock that is not
    released are counted in `errors`; the first of them is logged as a warning. The folder must not be on a network file
    system whose locks do not work.

    Args:
        folder (`Path`):
            Folder of the database; created if it does not exist.
        timing ([`CacheTiming`], *optional*):
            Waiting times.

    Raises:
        UserError: `diskcache` is not installed.
    """

    def __init__(self, folder: Path, *, timing: CacheTiming | None = None):
        try:
            import diskcache
        except ImportError as error:
            raise missing_extra("diskcache", "llm") from error
        self.folder = folder
        self.timing = timing or CacheTiming()
        self.errors = 0
        self._in_a_row = 0
        self._rest_until = 0.0
        self._failures: tuple[type[Exception], ...] = (
            sqlite3.Error, OSError, ValueError, KeyError, TypeError, diskcache.Timeout
        )  # fmt: skip
        self._cache: Any = None
        try:
            self._cache = diskcache.Cache(
                str(folder),
                timeout=self.timing.lock_s,
                disk=_text_disk(),
                disk_min_file_size=_MAX_ROW_CHARS,
                size_limit=SIZE_BYTES,
                eviction_policy="least-recently-stored",  # with this policy a read does not write
                # No memory mapping: if another process truncates a mapped file, reading it kills the reader (SIGBUS).
                sqlite_mmap_size=0,
                sqlite_journal_mode="delete",
            )
        except self._failures as error:
            self._failed(error)

    def get(self, key: str) -> Answer | None:
        """See [`AnswerCache`]."""
        entry = self._try(lambda cache: cache.get(key))
        # Decoded by `_try` as well: an entry that is no answer counts as a failed access.
        return None if entry is None else self._try(lambda cache: _answer(json.loads(entry)))

    def put(self, key: str, answer: Answer) -> None:
        """See [`AnswerCache`]."""
        text = json.dumps({"text": answer.text, "truncated": answer.truncated})
        self._try(lambda cache: cache.set(key, text))

    def _try(self, access: Callable[[Any], Any]) -> Any:
        """The result of `access`, or `None` if it fails or the cache is left alone."""
        if self._cache is None or time.monotonic() < self._rest_until:
            return None
        try:
            result = access(self._cache)
        except self._failures as error:
            self._failed(error)
            return None
        self._in_a_row = 0
        return result

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        self._in_a_row += 1
        if self._in_a_row >= _FAILURES:
            self._rest_until = time.monotonic() + self.timing.rest_s
        if self.errors == 1:
            logger.warning(
                "The cache of model answers in %s cannot be used (%s: %s); the model is asked instead. Remove the folder or "
                "choose another one (`instrumenter_cache_dir`).",
                self.folder,
                type(error).__name__,
                error,
            )


def _answer(entry: Any) -> Answer:
    text, truncated = entry["text"], entry["truncated"]
    if not isinstance(text, str) or not isinstance(truncated, bool):
        raise ValueError("the entry is no answer")
    return Answer(text, truncated)


def _text_disk() -> type:
    import diskcache

    class TextDisk(diskcache.Disk):
        """`diskcache.Disk` that stores and loads only texts in the database: no pickles, no files."""

        def store(self, value, read, key=diskcache.UNKNOWN):
            if not isinstance(value, str) or read:
                raise ValueError("only texts are stored")
            return super().store(value, read, key)

        def fetch(self, mode, filename, value, read):
            if filename is not None or not isinstance(value, str):
                raise ValueError("the entry is no text")
            return value

    return TextDisk
