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
from trl_mle.experience.schema import STORE_VERSION

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
        self._is_closed = False
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
        """Wait until all that was written is on the disk.

        A transaction with `synchronous = FULL` waits for the log, and so for all transactions before it. In place of a checkpoint
        of the log, it does not wait for readers in other processes.
        """
        if self.read_only:
            return
        with self._connected() as connection:
            connection.execute("PRAGMA synchronous = FULL")
            try:
                connection.execute(f"PRAGMA user_version = {STORE_VERSION}")
            finally:
                connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Close the connection; closing again does nothing."""
        self._leave_parent()
        with self._lock, errors_of(self.path):
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._is_closed = True

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._connected() as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # after some errors SQLite has rolled back itself
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        self._leave_parent()
        with self._lock, errors_of(self.path):
            if self._is_closed:
                raise StoreError(f"The experience store {self.path} is closed; open it again.")
            if self._connection is None:
                self._connection = open_database(self.path, read_only=self.read_only)
            yield self._connection

    def _leave_parent(self) -> None:
        """After a fork, leave connection and lock to the parent process: one of its threads may hold the lock for ever here."""
        if self._process != os.getpid():
            if self._connection is not None:
                _LEFT_TO_PARENT.append(self._connection)
            self._process, self._connection, self._lock = os.getpid(), None, threading.RLock()
