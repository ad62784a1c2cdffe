"""`open_problem`: from what a user has to the task of a search."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trl_mle.errors import ConfigError, TaskError
from trl_mle.solve.attempts import STORE
from trl_mle.solve.further_splits import further_splits
from trl_mle.solve.real_test import RealTest, prepare_real_test
from trl_mle.tasks import Task, create_task, load_task
from trl_mle.tasks.create import Request, propose, raise_open
from trl_mle.tasks.create.folders import unlabelled_tables
from trl_mle.tasks.folder import load_folder
from trl_mle.text_tables import is_csv
from trl_mle.whole_files import write_whole

HELD_OUT = "held_out"
REAL = "real"
OPTIONS = "options.json"
TABLES = "tables.json"


@dataclass(frozen=True)
class Problem:
    """What is to be solved."""

    source: str
    """Name of the task, or the folder of the user."""
    task: Task
    """The task that attempts are scored on. Of a Kaggle folder, a part of its train rows is held out."""
    real: RealTest | None = None
    """The user's real test file; `None` if the test file is that of `task`."""
    splits: tuple[Task, ...] = ()
    """Further divisions of the rows of `task`. A candidate for the best attempt is scored on each, and the mean decides."""


def is_kaggle_folder(source: str) -> bool:
    """Whether `source` is a folder of tables and not a task folder."""
    path = Path(source).expanduser()
    try:
        return path.is_dir() and not (path / "task.yaml").exists()
    except OSError:
        return False


def open_problem(
    source: str,
    out: Path,
    options: Mapping[str, Any] | None = None,
    time_limit_s: float | None = None,
    splits: int = 1,
) -> Problem:
    """Load a task, or make one from a Kaggle folder by holding out a part of its train rows.

    Args:
        source (`str`):
            Name of a task, a task folder, or a folder with `train.csv` and `test.csv`.
        out (`Path`):
            Folder of the search. A task that was made there is used again.
        options (mapping, *optional*):
            Arguments of [`create_task`] about the data, for a Kaggle folder.
        time_limit_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's.
        splits (`int`, *optional*, defaults to `1`):
            Divisions of the rows of a Kaggle folder whose mean score decides.

    Raises:
        ConfigError: `splits` is more than 1 for another source, or for rows that are divided by time; or the user's tables are not
            those of the earlier search in `out`.
        TaskError: there is no such task, or the folder has no test file or no usable train table.
    """
    if not is_kaggle_folder(source):
        if splits != 1:
            raise ConfigError(
                f"`--splits` is {splits}, but {source} is a task, whose test rows are given; leave it out."
            )
        task = load_task(source)
        return Problem(source, _limited(task, time_limit_s))
    path = Path(source).expanduser().resolve()
    options = dict(options or {})
    sep, encoding = options.pop("sep", None), options.pop("encoding", None)
    check_tables(source)
    request = Request.of(**{"target": None, "metric": None, "drop": (), "keep": (), **options})
    proposal = propose(path, request, sep, encoding)
    raise_open(proposal.questions, str(path))
    if proposal.origin.images:
        raise TaskError(
            f"{path} is a folder of images; `solve` takes tables. Make a task of it: `trl-mle tasks create {path}`."
        )
    _note_tables(path, out)
    folder = out / HELD_OUT / path.name
    if not folder.exists():
        limit: dict[str, Any] = {} if time_limit_s is None else {"time_limit_s": time_limit_s}
        create_task(path, out=folder, sep=sep, encoding=encoding, **options, **limit)
    task = _limited(load_folder(folder), time_limit_s)
    real = prepare_real_test(proposal, task, out / REAL, sep=sep, encoding=encoding)
    others = further_splits(task, out / HELD_OUT, splits - 1, request.split)
    return Problem(str(path), task, real, tuple(_limited(other, time_limit_s) for other in others))


def check_tables(source: str) -> None:
    """Raise `TaskError` if a folder that is no task folder lacks a train table or a test file."""
    path = Path(source).expanduser().resolve()
    test, _ = unlabelled_tables(path)
    if test is None:
        raise TaskError(
            f"{path} has no task.yaml and no test.csv, so there is nothing to predict. Put the test file there, or make a task of "
            f"the train table: `trl-mle tasks create {path}`."
        )


def save_options(out: Path, options: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Keep what was decided about a Kaggle folder, and the flags that were given, for later sessions."""
    write_whole(out / OPTIONS, json.dumps({"options": dict(options), "given": dict(given)}, indent=2) + "\n")


def read_options(out: Path, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an earlier session has decided; `None` if there is none.

    Args:
        out (`Path`):
            Folder of the search.
        given (mapping):
            Flags of this session.

    Raises:
        ConfigError: the file is damaged, or a flag says something else than the earlier session.
    """
    path = out / OPTIONS
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        earlier, flags = (_tuples(content[name]) for name in ("options", "given"))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Choose another folder with `--out`.") from error
    for name, value in given.items():
        if value and value not in (flags.get(name), earlier.get(name)):
            raise ConfigError(
                f"`--{name}` is {_shown(value)}, but the search in {out} has {_shown(earlier.get(name))}. Leave it out, or choose "
                "another folder with `--out`."
            )
    return earlier


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _shown(value: Any) -> str:
    return (", ".join(map(str, value)) if isinstance(value, tuple) else str(value or "")) or "none"


def _digests(path: Path) -> str:
    """Digests of the train table and the test file of a Kaggle folder, as JSON."""
    digests = {}
    for table in sorted(path.iterdir()):
        if table.is_file() and is_csv(table) and table.name.lower().split(".")[0] in ("train", "test"):
            with table.open("rb") as file:
                digests[table.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return json.dumps(digests, indent=2) + "\n"


def _note_tables(path: Path, out: Path) -> None:
    """Keep what the files in `out` are made of, before the first of them is made.

    Files of other tables are made anew if no search has begun: an earlier call may have found something to mend in the tables.

    Raises:
        ConfigError: a search has begun with other tables.
    """
    known, digests = out / TABLES, _digests(path)
    if known.exists() and known.read_text(encoding="utf-8", errors="replace") != digests:
        if (out / STORE).exists():
            raise ConfigError(
                f"The tables of {path} have changed since the search in {out} began. Choose another folder with `--out`."
            )
        for name in (HELD_OUT, REAL):
            shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(known, digests)


def _limited(task: Task, time_limit_s: float | None) -> Task:
    return task if time_limit_s is None else replace(task, time_limit_s=time_limit_s)
