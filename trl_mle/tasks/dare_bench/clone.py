"""The user's clone of DARE-bench: where it is, which data sets it has, and the files and facts of each.

The clone is the work of others. A file of it is opened only if it is a regular file inside of the data set's folder.
"""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from trl_mle.errors import TaskError, UserError

REPOSITORY = "https://github.com/Snowflake-Labs/dare-bench"
VARIABLE = "DARE_BENCH_DIR"
"""Environment variable with the folder of the clone."""
KINDS = {"classification": "classification", "regression": "regression", "time_series_analysis": "time series"}
"""Words for each kind of data set, by its name in DARE-bench."""
NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)
LFS_HEAD = b"version https://git-lfs.github.com/spec/"
"""First bytes of the stub that stands for a file of Git LFS that was not fetched."""
_EVAL = Path("data") / "eval"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class DareDataset:
    """One data set of the clone, in its modelling variant (`v2`)."""

    name: str
    """Name of the folder, for example `ihelon_coffee-sales_ts`."""
    kind: str
    """A key of `KINDS`."""
    targets: tuple[str, ...]
    """Columns to predict."""
    train: Path
    """Training rows: a `.csv`, `.sqlite` or `.parquet` file."""
    test: Path
    """Rows to predict, without the targets."""
    answers: Path
    """Targets of the rows to predict."""
    metadata: Path
    """Text about the source and its columns."""
    time_column: str | None
    """Column with the time of a row; `None` unless the data set is a time series."""
    time_format: str | None
    """Format of `time_column`, in the language of `strptime`."""
    title: str
    """One line."""
    url: str | None
    """Page of the source."""
    license: str | None
    """Licence of the source, as DARE-bench states it; `None` if it states none."""

    @property
    def license_text(self) -> str:
        """The licence in words that name a limit to non-commercial use."""
        if self.license is None:
            return "not stated"
        return f"{self.license} (non-commercial use only)" if NON_COMMERCIAL.search(self.license) else self.license


def find_clone() -> Path:
    """Folder of the clone, from the variable `DARE_BENCH_DIR`.

    Raises:
        UserError: the variable is not set, or its folder is no clone of DARE-bench.
    """
    fix = f"Clone it (`git clone {REPOSITORY}`) and set {VARIABLE} to the folder."
    chosen = os.environ.get(VARIABLE)
    if not chosen:
        raise UserError(f"tasks of DARE-bench are read from your clone of it, but {VARIABLE} is not set. {fix}")
    try:
        folder = Path(chosen).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{VARIABLE} is {chosen!r}, which cannot be read ({error}). {fix}") from error
    if not (folder / _EVAL / "question_list.json").is_file():
        raise UserError(f"{VARIABLE} is {chosen!r}, which has no {_EVAL / 'question_list.json'}. {fix}")
    return folder


def dataset_kinds(clone: Path) -> dict[str, str]:
    """Kind of each data set of the evaluation part by its name, in alphabetical order.

    Raises:
        TaskError: the list of the clone cannot be read.
    """
    return {name: entry["task"] for name, entry in _questions(clone).items()}


def read_dataset(clone: Path, name: str) -> DareDataset:
    """Files and facts of the data set `name`.

    Raises:
        TaskError: there is no such data set, or a file of it is missing or wrong.
    """
    questions = _questions(clone)
    if name not in questions:
        raise TaskError(f"DARE-bench has no data set {name!r}; `trl-mle tasks list` shows its {len(questions)} names.")
    folder = clone / _EVAL / "databases" / name
    entry = questions[name]
    facts = _json(_file(folder, "verify/all_metadata.json"))
    question = facts.get("question") if isinstance(facts, dict) else None
    source = (facts.get("data_info") if isinstance(facts, dict) else None) or {}
    if not isinstance(question, dict) or not isinstance(source, dict):
        raise TaskError(f"{folder / 'verify' / 'all_metadata.json'} has no `question`; fetch the clone anew.")
    targets = question.get("target")
    targets = [targets] if isinstance(targets, str) else targets
    if not isinstance(targets, list) or not targets or not all(isinstance(target, str) for target in targets):
        raise TaskError(f"{folder / 'verify' / 'all_metadata.json'}: target is {targets!r}, not names of columns.")
    is_series = entry["task"] == "time_series_analysis"
    needed = entry.get("needed_files_v2")
    needed = [str(file) for file in needed] if isinstance(needed, list) else []
    return DareDataset(
        name=name,
        kind=entry["task"],
        targets=tuple(targets),
        train=_file(folder, f"source/{_only(needed, 'train', folder)}"),
        test=_file(folder, f"source/{_only(needed, 'val', folder)}"),
        answers=_file(folder, "verify/ground_truth_v2.csv" if is_series else "verify/ground_truth.csv"),
        metadata=_file(folder, "source/metadata.txt"),
        time_column=_text(question.get("time_column")) if is_series else None,
        time_format=_text(question.get("time_format")) if is_series else None,
        title=title_of(name, entry["task"]),
        url=_text(source.get("url")),
        license=_licenses(clone).get(name),
    )


def title_of(name: str, kind: str) -> str:
    """A line for tables, from the name of the folder: `owner_some-data_ts` -> `Some data (time series)`."""
    words = name.partition("_")[2].rpartition("_")[0] or name
    words = re.sub(r"[-_ ]+", " ", words).strip()
    return f"{words[:1].upper()}{words[1:]} ({KINDS[kind]})"


@lru_cache(maxsize=4)
def _read_questions(path: Path, mtime_ns: int) -> dict[str, dict[str, Any]]:
    entries = _json(path)
    if not isinstance(entries, list):
        raise TaskError(f"{path} holds no list of data sets; fetch the clone anew.")
    questions = {}
    for entry in entries:
        name = entry.get("file_path") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name) or str(entry.get("task")) not in KINDS:
            raise TaskError(f"{path} holds the entry {str(entry)[:80]!r}, which is no data set; fetch the clone anew.")
        questions[name] = entry
    return dict(sorted(questions.items()))


def _questions(clone: Path) -> dict[str, dict[str, Any]]:
    path = _file(clone, str(_EVAL / "question_list.json"))
    return _read_questions(path, path.stat().st_mtime_ns)


def _licenses(clone: Path) -> dict[str, str]:
    try:
        text = _file(clone, "LICENSE/kaggle_license_test.csv").read_text(encoding="utf-8-sig")
    except (TaskError, UnicodeDecodeError):
        return {}
    rows = [row for row in csv.reader(text.splitlines()) if len(row) > 1]
    return {row[0]: " ".join(row[1].split())[:100] for row in rows}


def _only(needed: list[str], part: str, folder: Path) -> str:
    names = [name for name in needed if name.startswith(part)]
    if len(names) != 1:
        raise TaskError(
            f"{folder.name} has the {part} files {names} in question_list.json; exactly one is understood."
        )
    return names[0]


def _file(folder: Path, relative: str) -> Path:
    path = folder / relative
    try:
        if not path.resolve().is_relative_to(folder.resolve()) or path.is_symlink():
            raise TaskError(f"{path} leads out of {folder}; fetch the clone anew.")
        if not path.is_file():
            raise TaskError(f"{path} does not exist: the clone is not complete. Fetch it anew from {REPOSITORY}.")
        with path.open("rb") as file:
            if file.read(len(LFS_HEAD)) == LFS_HEAD:
                raise TaskError(f"{path} is a stub of Git LFS; run `git lfs pull` in the clone.")
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror}.") from error
    return path


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise TaskError(f"{path} is not JSON ({str(error)[:100]}); fetch the clone anew.") from error


def _text(value: Any) -> str | None:
    return " ".join(value.split())[:300] if isinstance(value, str) and value.strip() else None
