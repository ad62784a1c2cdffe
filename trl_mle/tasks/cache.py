"""The cache of prepared tasks, in which a task is prepared once even if several processes ask for it at the same time."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trl_mle.errors import TaskError

logger = logging.getLogger(__name__)

STALE_S = 3600.0
"""Age in seconds beyond which a half-prepared folder counts as left by a process that was killed."""
_TEMPORARY = ".preparing-"


def cache_dir() -> Path:
    """Folder of prepared tasks: the variable `TRL_MLE_CACHE`, or `trl_mle/tasks` in the user's cache folder (`XDG_CACHE_HOME`).

    Raises:
        TaskError: there is no home folder, as for a user that the machine does not know.
    """
    try:
        if chosen := os.environ.get("TRL_MLE_CACHE"):
            return Path(chosen).expanduser()
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "trl_mle" / "tasks"
    except RuntimeError as error:
        raise TaskError(f"the folder of prepared tasks is not known ({error}); set TRL_MLE_CACHE to one.") from error


def prepare_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Make the folder `target` with `build`, unless it exists already.

    `build` gets an empty folder beside `target`, which is renamed when it is complete. So no process ever sees a
    half-prepared task. If several processes prepare the same task, the first one to finish wins and the others drop their
    equal work.

    Returns:
        `Path`: `target`.

    Raises:
        TaskError: the folder cannot be created or written.
    """
    if not target.is_dir():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(target.parent)
        except OSError as error:
            raise TaskError(
                f"{target.parent} cannot be written ({error.strerror}); set TRL_MLE_CACHE to another."
            ) from error
        if not _prepare(target, build, "set TRL_MLE_CACHE to another folder"):
            logger.info("%s was prepared by another process at the same time", target)
    return target


def prepare_new(target: Path, build: Callable[[Path], None]) -> Path:
    """Make the new folder `target` with `build`, as `prepare_once`. Nothing that exists is replaced, and a failure leaves nothing.

    Returns:
        `Path`: `target`, with `~` expanded.

    Raises:
        TaskError: the folder exists, or it cannot be created or written.
    """
    try:
        target = target.expanduser()
    except RuntimeError as error:  # of an unknown user
        raise TaskError(f"{target} cannot be made ({error}); choose another folder with `--out`.") from error
    missing = [parent for parent in target.parents if not parent.exists()]
    done = False
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TaskError(
                f"{target.parent} cannot be made ({error.strerror}); choose another folder with `--out`."
            ) from error
        done = _prepare(target, build, "choose another folder with `--out`")
        if not done:
            raise TaskError(f"{target} exists already (`--out`); choose another folder or remove it.")
    finally:
        if done:
            missing = []
        for parent in missing:
            with contextlib.suppress(OSError):  # somebody else may have put something there
                parent.rmdir()
    return target


def _prepare(target: Path, build: Callable[[Path], None], fix: str) -> bool:
    """Build a folder beside `target` and rename it. False if `target` is there by then: another process has finished first."""
    try:
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=target.parent))
    except OSError as error:
        raise TaskError(f"{target.parent} cannot be written ({error.strerror}); {fix}.") from error
    try:
        temporary.chmod(0o755)
        build(temporary)
        os.replace(temporary, target)
    except OSError as error:
        # A rename onto a folder that is not empty.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or not target.exists():
            raise TaskError(f"{target} cannot be written ({error.strerror or error}); {fix}.") from error
        return False
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _remove_stale(folder: Path) -> None:
    for path in folder.glob(f"{_TEMPORARY}*"):
        try:
            age_s = time.time() - path.stat().st_mtime
        except FileNotFoundError:  # the process that owns it has just finished
            continue
        if age_s > STALE_S:
            logger.info("Removing %s, left by a process that was killed", path)
            shutil.rmtree(path, ignore_errors=True)
