"""Where `mlebench prepare` has put the data of a competition."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from trl_mle.errors import TaskError

VARIABLE = "MLEBENCH_DATA_DIR"
"""Environment variable with MLE-bench's data folder, the value of `mlebench prepare --data-dir`."""


class PreparedData(NamedTuple):
    """The prepared data of one competition. Nothing here is ever written."""

    public: Path
    """Files for programs."""
    private: Path
    """Answers."""


def data_dir() -> Path:
    """MLE-bench's data folder: the variable `MLEBENCH_DATA_DIR`, or the default of `mlebench` in the user's cache folder.

    Raises:
        TaskError: there is no home folder, as for a user that the machine does not know.
    """
    try:
        if chosen := os.environ.get(VARIABLE):
            return Path(chosen).expanduser()
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "mle-bench" / "data"
    except RuntimeError as error:
        raise TaskError(f"the data folder of MLE-bench is not known ({error}); set {VARIABLE} to it.") from error


def find_prepared(competition: str) -> PreparedData:
    """The prepared data of `competition`.

    Raises:
        TaskError: the competition is not prepared; the message says how it is, and where it was looked for.
    """
    folder = data_dir() / competition / "prepared"
    data = PreparedData(folder / "public", folder / "private")
    try:
        missing = [path for path in data if not path.is_dir() or next(path.iterdir(), None) is None]
    except OSError as error:
        raise TaskError(f"{error.filename} cannot be read: {error.strerror}.") from error
    if missing:
        raise TaskError(
            f"'mlebench:{competition}': {missing[0]} is missing or empty. Run `mlebench prepare -c {competition}`; if its data "
            f"is elsewhere, set {VARIABLE} to the folder that holds {competition}/prepared/."
        )
    return PreparedData(*(path.resolve() for path in data))


def prepared_competitions() -> Iterator[str]:
    """Names of the competitions whose data is on this machine."""
    try:
        yield from sorted(path.parent.parent.name for path in data_dir().glob("*/prepared/private"))
    except (OSError, TaskError):  # such as a data folder of another user: it holds nothing that could be loaded
        return
