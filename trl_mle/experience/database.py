"""The file of a store: how it is made, looked at before it is opened, and opened; its errors in words.

A file that is no store, or a newer or damaged one, is only ever read.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from trl_mle.errors import StoreError
from trl_mle.experience.schema import APPLICATION_ID, CHECKED_TABLES, CREATE, STORE_VERSION

BUSY_S = 30.0
"""Longest wait for another process that writes, in seconds."""
CACHE_KIB = 8 * 1024
"""Memory for pages of the file, in KiB."""
LOG_BYTES = 64 * 1024**2
"""Size of the log that is kept for further use after an import has made it larger, in bytes."""

_FIXES = {
    "FULL": "The disk, or the user's share of it, is full. Free some space; what was added before is kept.",
    "READONLY": "It cannot be written. Give a path in a folder that this user may write to.",
    "CANTOPEN": "It cannot be opened. Does its folder exist, and may this user write to it?",
    "PERM": "This user may not open it. Change its permissions, or give another path.",
    "IOERR": "Its disk reports an error. Is the disk full, or is it on a network file system? A store needs a local disk.",
    "BUSY": f"Another process has kept it locked for {BUSY_S:g} s. Stop that process, or give another path.",
    "CORRUPT": "It is damaged. Restore it from a copy or an export, or move it away and start a new one.",
    "NOTADB": "It is damaged. Restore it from a copy or an export, or move it away and start a new one.",
}


def open_database(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the store at `path`, which is made if it does not exist, unless `read_only`.

    Raises:
        StoreError: the file is no store, has a newer version, is damaged, or cannot be read or written.
    """
    with errors_of(path), _system_errors_of(path):
        if not path.exists() or path.stat().st_size == 0:
            if read_only:
                raise StoreError(f"There is no experience store at {path}.")
            _create(path)
        check(path)
        connection = _connect(path, "ro" if read_only else "rw")
        if not read_only:
            # Without it, a store that was copied or converted by other software would be slow, and no less safe.
            connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL waits for the disk now and then, FULL at every addition. Neither loses anything when the process is killed.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        return connection


def check(path: Path) -> None:
    """Raise `StoreError` if the file is no store that this version can use. Nothing is written to it."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if (header := _header(path)) is None:
        raise StoreError(f"{path} is not an experience store: it is no SQLite file. Give another path.")
    application, version = header
    if application != APPLICATION_ID:
        raise StoreError(f"{path} is not an experience store but an SQLite file of other software. Give another path.")
    if version > STORE_VERSION:
        raise StoreError(
            f"{path} is an experience store of version {version}, but this version of trl_mle reads at most {STORE_VERSION}. "
            "Upgrade trl_mle, or give another path."
        )
    with closing(_connect(path, "ro")) as connection:
        kinds = dict(
            connection.execute(
                "SELECT name, iif(type = 'table' AND rootpage = 0, 'virtual table', type) FROM sqlite_schema"
            )
        )
        problems = [f"it has no table `{name}`" for name in ("rows", *CHECKED_TABLES) if kinds.get(name) != "table"]
        # A store has no views and triggers, which would run the SQL of whoever made the file.
        problems += [f"it has a {kind} `{name}`" for name, kind in kinds.items() if kind not in ("table", "index")]
        for table in CHECKED_TABLES if not problems else ():
            problems += [text for (text,) in connection.execute(f"PRAGMA quick_check({table})") if text != "ok"]
    if problems:
        raise StoreError(f"{path}: {_FIXES['CORRUPT']} ({problems[0]})")


def is_sqlite(path: Path) -> bool:
    """Whether `path` is an SQLite file that can be read."""
    try:
        return path.is_file() and path.stat().st_size > 0 and _header(path) is not None
    except (OSError, sqlite3.Error):
        return False


def _header(path: Path) -> tuple[int, int] | None:
    """`application_id` and `user_version` of an SQLite file, or `None` if it is none. No lock is taken and nothing is made.

    It is read by SQLite: closing a file handle of Python's own would release the locks of all connections of this process
    (https://www.sqlite.org/howtocorrupt.html, 2.2), and another process could then delete the log under them.
    """
    with closing(sqlite3.connect(_uri(path, "mode=ro&immutable=1"), uri=True)) as connection:
        try:
            ((application,),) = connection.execute("PRAGMA application_id")
            ((version,),) = connection.execute("PRAGMA user_version")
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
                return None
            raise
    return application, version


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into a `StoreError` that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        kind = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").split("_")[0]
        raise StoreError(f"The experience store {path}: {_FIXES.get(kind, 'SQLite fails.')} ({error})") from error
    except UnicodeDecodeError as error:  # of a text in the file, or of SQLite's message that quotes one
        raise StoreError(f"The experience store {path}: {_FIXES['CORRUPT']} ({error})") from error


@contextmanager
def _system_errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The experience store {path} cannot be used: {error.strerror or error}. Give another path."
        ) from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection that begins no transaction by itself and may be used in any thread, one at a time."""

    def connect(options: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            _uri(path, options), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA trusted_schema = OFF")  # the file may come from elsewhere
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute("SELECT count(*) FROM sqlite_schema")  # a file that cannot be read is noticed here
        return connection

    try:
        return connect(f"mode={mode}")
    except sqlite3.OperationalError:
        # In a folder that cannot be written, SQLite cannot make the file by which processes share a store. Without a log of
        # newer pages, no process writes.
        if mode != "ro" or path.with_name(path.name + "-wal").exists() or not os.access(path, os.R_OK):
            raise
        return connect("mode=ro&immutable=1")


def _uri(path: Path, options: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{options}"


def _create(path: Path) -> None:
    """Make an empty store, whole or not at all: its header says from the first moment what it is.

    A store that another process has just made at `path` is left as it is.
    """
    if path.exists():
        _fill(path)
        return
    draft = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(CREATE)
            connection.execute("PRAGMA journal_mode = WAL")
        try:
            os.link(draft, path)
        except FileExistsError:  # another process has just made one
            return
        except OSError:  # a file system without hard links
            _fill(path)
    finally:
        draft.unlink(missing_ok=True)


def _fill(path: Path) -> None:
    """Make a store of an empty file, as `tempfile` makes one. Of several processes, one does."""
    with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
        try:
            connection.executescript(CREATE)
        except sqlite3.OperationalError:
            if path.stat().st_size == 0:
                raise
