"""The folder of a search, in which one process works at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from trl_mle.errors import ConfigError
from trl_mle.whole_files import PART


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Let no other process work in `folder`, and remove what a kill has left half-written there.

    Raises:
        ConfigError: another process works in it, or it cannot be written.
    """
    try:
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be written ({error.strerror}); choose another folder with `--out`."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"Another search is running in {folder}. Choose another folder with `--out`.") from error
        for part in folder.glob(f".*{PART}"):
            part.unlink(missing_ok=True)
        yield
