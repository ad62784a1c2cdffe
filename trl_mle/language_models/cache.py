"""Answers on disk, shared by processes; whatever goes wrong with it, the model is asked instead."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from trl_mle.errors import missing_extra
from trl_mle.language_models.backends import Answer

logger = logging.getLogger(__name__)

SIZE_BYTES = 512 * 1024**2
"""Largest cache; past it the oldest answers go."""
_MAX_ROW_CHARS = 1024**2
"""A longer text would go into a file of its own; there is none."""
_LOCK_S = 1.0
"""Seconds to wait for another process that writes."""
_FAILURES = 3
_REST_S = 30.0
"""After so many failures in a row the cache is left alone for so many seconds."""


class AnswerCache(Protocol):
    """Where answers are kept."""

    errors: int
    """Accesses that failed."""

    def get(self, key: str) -> Answer | None:
        """The answer kept under `key`; `None` where there is none or it cannot be read. Never raises; may block."""
        ...

    def put(self, key: str, answer: Answer) -> None:
        """Keep `answer`. Never raises; may block."""
        ...


def cache_key(code: str, model: str, prompt_version: str, answer_format: str, max_tokens: int) -> str:
    """What an answer depends on, as one hash."""
    parts = json.dumps([code, model, prompt_version, answer_format, max_tokens])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def default_cache_dir() -> Path:
    """`trl_mle/instrumentation` in the user's cache folder (`XDG_CACHE_HOME`)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trl_mle" / "instrumentation"


class NoCache:
    """Keeps nothing."""

    errors = 0

    def get(self, key: str) -> Answer | None:
        return None

    def put(self, key: str, answer: Answer) -> None:
        return None


class DiskCache:
    """`diskcache.Cache` (SQLite) of JSON texts. Pickles, which `diskcache` would load, are refused.

    A folder that cannot be used, a damaged file and a lock that is not given back are counted in `errors`, and warned of
    once. Network file systems whose locks do not work are no place for it.

    Raises:
        UserError: `diskcache` is not installed.
    """

    def __init__(self, folder: Path):
        try:
            import diskcache
        except ImportError as error:
            raise missing_extra("diskcache", "llm") from error
        self.folder = folder
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
                timeout=_LOCK_S,
                disk=_text_disk(),
                disk_min_file_size=_MAX_ROW_CHARS,
                size_limit=SIZE_BYTES,
                eviction_policy="least-recently-stored",  # reading writes nothing
                # A mapped file that another process cuts off kills whoever reads it (SIGBUS): nothing is mapped.
                sqlite_mmap_size=0,
                sqlite_journal_mode="delete",
            )
        except self._failures as error:
            self._failed(error)

    def get(self, key: str) -> Answer | None:
        """As in [`AnswerCache`]."""
        kept = self._try(lambda cache: cache.get(key))
        return None if kept is None else self._try(lambda cache: _answer(json.loads(kept)))

    def put(self, key: str, answer: Answer) -> None:
        """As in [`AnswerCache`]."""
        text = json.dumps({"text": answer.text, "truncated": answer.truncated})
        self._try(lambda cache: cache.set(key, text))

    def _try(self, access: Callable[[Any], Any]) -> Any:
        """The result of `access`, or `None` where it fails."""
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
            self._rest_until = time.monotonic() + _REST_S
        if self.errors == 1:
            logger.warning(
                "The cache of instrumentation answers in %s cannot be used (%s: %s); the model is asked instead. Remove the "
                "folder or choose another `instrumenter_cache_dir`.",
                self.folder,
                type(error).__name__,
                error,
            )


def _answer(kept: Any) -> Answer:
    text, truncated = kept["text"], kept["truncated"]
    if not isinstance(text, str) or not isinstance(truncated, bool):
        raise ValueError("the entry is no answer")
    return Answer(text, truncated)


def _text_disk() -> type:
    import diskcache

    class TextDisk(diskcache.Disk):
        """`diskcache.Disk` that neither writes nor loads anything but texts in the database."""

        def store(self, value, read, key=diskcache.UNKNOWN):
            if not isinstance(value, str) or read:
                raise ValueError("only texts are kept")
            return super().store(value, read, key)

        def fetch(self, mode, filename, value, read):
            if filename is not None or not isinstance(value, str):
                raise ValueError("the entry is no text")
            return value

    return TextDisk
