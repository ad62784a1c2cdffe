"""The package `mlebench`, where it is installed: settings, grader and leaderboard of each competition.

Only its files and its grading functions are used. Its registry also imports what prepares the data, and `mlebench.data` opens a
cache in the working folder.
"""

from __future__ import annotations

import importlib
import logging
import re
import threading
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from trl_mle.errors import TaskError
from trl_mle.tasks.mlebench.leaderboard import Leaderboard, is_pointer, read_leaderboard

GradeFunction = Callable[[Any, Any], float]
"""`(submission, answers) -> score`. Both are DataFrames, unless the answers are JSON lines: a list of dictionaries."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of competitions. A `task.yaml` of others may hold any text, and none may lead out of the package."""

_import = threading.Lock()


def package_dir() -> Path | None:
    """Folder of the package `mlebench`, or `None` if it is not installed."""
    try:
        spec = find_spec("mlebench")
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    return folder if (folder / "competitions").is_dir() else None


def competition_dir(competition: str) -> Path | None:
    """Folder of the competition in the package, or `None` if there is none."""
    package = package_dir() if NAME.fullmatch(competition) else None
    folder = None if package is None else package / "competitions" / competition
    return folder if folder is not None and (folder / "config.yaml").is_file() else None


def read_config(competition: str) -> dict[str, Any]:
    """Content of the competition's `config.yaml`.

    Raises:
        TaskError: the file cannot be read, or lacks a key that is used.
    """
    folder = competition_dir(competition)
    if folder is None:
        raise TaskError(f"the package mlebench has no competition {competition!r}.")
    path = folder / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in (config["name"], config["grader"]["name"], config["grader"]["grade_fn"]):
            if not isinstance(key, str):
                raise TypeError(f"{key!r} is not a text")
        for key in (config["dataset"]["answers"], config["dataset"]["sample_submission"]):
            Path(key)
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise TaskError(f"{path} cannot be used ({type(error).__name__}: {error}); reinstall mlebench.") from error
    return config


def package_leaderboard(competition: str) -> Leaderboard | None:
    """The competition's leaderboard, or `None` if the package has none, or only a pointer of Git LFS.

    Raises:
        TaskError: the file is damaged.
    """
    folder = competition_dir(competition)
    path = None if folder is None else folder / "leaderboard.csv"
    if path is None or not path.is_file() or is_pointer(path):
        return None
    return read_leaderboard(path)


@lru_cache(maxsize=64)
def grade_function(competition: str) -> GradeFunction:
    """The function with which `mlebench` grades the competition.

    Raises:
        TaskError: it cannot be imported, for example because a package is missing that it needs.
    """
    name = read_config(competition)["grader"]["grade_fn"]
    module, _, function = name.partition(":")
    with _import:
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        try:
            return getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise TaskError(
                f"the grader {name} of mlebench cannot be imported: {error}. Install what it needs, for example by "
                f"`pip install -e` in a clone of MLE-bench, or uninstall mlebench."
            ) from error
        finally:  # importing mlebench configures the root logger, which belongs to the program that runs
            root.handlers[:] = handlers
            root.setLevel(level)
