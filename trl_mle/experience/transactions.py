"""Transactions on the file of a store, from any thread, and after a fork."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trl_mle.errors import StoreError
from trl_mle.experience.database import errors_of, open_database

_LEFT_TO_PARENT: list[sqlite3.Connection] = []
"""Connections that a fork copied. Closing one would release the locks of the parent process (https://www.sqlite.org/howtocorrupt.html)."""


class Database:
    """One connection, and the lock with which threads take turns.

    Raises:
        StoreError: as `open_database`.
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._connection: sqlite3.Connection | None = open_database(path, read_only=read_only)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the store."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is kept whole at its end, or not at all after an exception. Other writers wait."""
        if self.read_only:
            raise StoreError(f"The experience store {self.path} was opened with `read_only=True`; open it without.")
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def sync(self) -> None:
        """Write everything from the log to the file itself, and wait for the disk."""
        if self.read_only:
            return
        with self._lock, errors_of(self.path):
            self._open().execute("PRAGMA wal_checkpoint(FULL)").fetchall()

    def close(self) -> None:
        """Close the connection; closing again does nothing."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                with errors_of(self.path):
                    self._connection.close()
            self._connection = None

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, errors_of(self.path):
            connection = self._open()
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # after some errors SQLite has rolled back itself
                    connection.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"The experience store {self.path} is closed; open it again.")
        if self._process != os.getpid():
            _LEFT_TO_PARENT.append(self._connection)
            self._lock = threading.RLock()
            self._connection = open_database(self.path, read_only=self.read_only)
            self._process = os.getpid()
        return self._connection
