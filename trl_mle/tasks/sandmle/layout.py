"""The files of a SandMLE task, told apart: what programs may see, and what only the evaluator may.

SandMLE ships both in one folder, `prepared/public`. A file is private if it is Python code, if Python code names it, if its name
says so, or if it is a table with the targets of rows to predict. The rest is public.
"""

from __future__ import annotations

import ast
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.grading.csv_rows import is_csv, read_header, read_rows

EVALUATOR = "evaluator.py"
SAMPLE, TRAIN, TEST, DESCRIPTION = "sample_submission.csv", "train.csv", "test.csv", "description.md"
OPEN = frozenset({SAMPLE, TRAIN, TEST, DESCRIPTION})
"""Files that are public although the evaluator and its helpers may read them."""
TELLING = re.compile(
    r"(^|[^a-z])(answers?|solutions?|ground[^a-z]*truth|hidden|private|secret|y[^a-z]*test"
    r"|test[^a-z]*(labels?|answers?|targets?|solutions?|truth|gt|y))([^a-z]|$)",
    re.IGNORECASE,
)
"""Names of files with answers."""
CODE = (".py", ".pyc", ".pyo", ".ipynb")
MOST_FILES = 50_000
MOST_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Layout:
    """The files of a task, as paths relative to its folder."""

    folder: Path
    """Folder with the files, `prepared/public`."""
    public: tuple[str, ...]
    private: tuple[str, ...]
    """Among them the evaluator."""
    answers: str | None
    """Table with the ids of the sample submission and its targets; `None` if there is none that is understood."""
    id_column: str | None
    """Column of the sample submission that names each row once."""


def task_id(name: str) -> str:
    """Id of the task in the folder `name`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:100] or "task"


def find_folder(folder: Path) -> Path:
    """The folder with the files of a task: `folder/prepared/public`, or `folder` itself.

    Raises:
        TaskError: there is no evaluator in either.
    """
    for candidate in (folder / "prepared" / "public", folder):
        if (candidate / EVALUATOR).is_file():
            return candidate.resolve()
    raise TaskError(f"{folder} is no task of SandMLE: there is no {EVALUATOR} in it, nor in its prepared/public.")


def read_layout(folder: Path) -> Layout:
    """Tell the files of `folder` apart.

    Raises:
        TaskError: a file is missing, is a link out of the folder, or gives answers away.
    """
    files = _files(folder)
    for name in (SAMPLE, DESCRIPTION):
        if name not in files:
            raise TaskError(f"{folder / name} does not exist; a task of SandMLE needs it.")
    rows = read_rows(folder / SAMPLE)
    header = next(rows)
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    if len(header) < 2 or not columns[0]:
        raise TaskError(f"{folder / SAMPLE} needs an id, a prediction and at least one row.")
    named = _named_by_code(folder, files)
    code = {name for name in files if name.endswith(CODE) or "__pycache__" in Path(name).parts}
    private = set(code)
    private |= {name for name in files if name not in OPEN and (name in named or TELLING.search(Path(name).stem))}
    private |= {name for name in files if any(TELLING.search(part) for part in Path(name).parts[:-1])}
    id_column = _id_column(folder, header, columns, files)
    ids = frozenset(columns[header.index(id_column)]) if id_column is not None else frozenset()
    predictions = frozenset(header) - {id_column}
    for name in sorted(set(files) - private - {SAMPLE, TRAIN}):
        if ids and _holds_answers(folder / name, id_column, predictions, ids):
            if name in OPEN:
                raise TaskError(f"{folder / name} holds the targets of rows to predict: that gives the answers away.")
            private.add(name)
    if id_column is not None and {TRAIN, TEST} <= set(files) and _shows_test_rows(folder, id_column, predictions):
        raise TaskError(
            f"{folder / TRAIN} holds rows of {TEST} with their targets: that gives the answers away; remove the rows."
        )
    if private == code:
        raise TaskError(
            f"{folder} has no file with answers: its Python code names none that is there, and no name such as answer.csv "
            f"says so. Put the answers into a file that {EVALUATOR} names."
        )
    answers = [name for name in sorted(private) if ids and _has_ids(folder / name, id_column, ids)]
    if any(_holds_rows(folder / name, folder / SAMPLE) for name in answers):
        raise TaskError(f"{folder / SAMPLE} holds the answers themselves; write a prediction without knowledge there.")
    return Layout(
        folder=folder,
        public=tuple(sorted(set(files) - private)),
        private=tuple(sorted(private)),
        answers=answers[0] if len(answers) == 1 else None,
        id_column=id_column,
    )


def _files(folder: Path) -> tuple[str, ...]:
    """Every regular file below `folder`, relative to it.

    Raises:
        TaskError: there is something else, or too much.
    """
    found: list[str] = []
    size = 0
    for here, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(here) / name
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise TaskError(f"{path} is a link; copy the file there.")
            if name in files:
                if not stat.S_ISREG(status.st_mode):
                    raise TaskError(f"{path} is no regular file; remove it.")
                found.append(path.relative_to(folder).as_posix())
                size += status.st_size
        if len(found) > MOST_FILES or size > MOST_BYTES:
            raise TaskError(f"{folder} holds more than {MOST_FILES} files or {MOST_BYTES} bytes.")
    return tuple(sorted(found))


def _named_by_code(folder: Path, files: tuple[str, ...]) -> set[str]:
    """Those of `files` whose name or path is a text of the evaluator's code, or of other code, which the evaluator may import.

    Raises:
        TaskError: the evaluator is no Python program, or code is nested too deeply to be read.
    """
    texts: set[str] = set()
    for path in (folder / name for name in files if name.endswith(".py")):
        try:
            texts |= _texts_of(path)
        except (SyntaxError, ValueError) as error:  # outside the evaluator: what cannot be imported reads no file
            if path == folder / EVALUATOR:
                raise TaskError(f"{path} is no Python program: {error}") from error
        except (RecursionError, MemoryError) as error:
            raise TaskError(f"{path} is nested too deeply to be read; simplify it: {error}") from error
    return {name for name in files if name in texts or Path(name).name in texts}


def _texts_of(program: Path) -> set[str]:
    """The short string constants of a program."""
    tree = ast.parse(program.read_bytes())
    return {
        node.value.strip().removeprefix("./")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 300
    }


def _id_column(folder: Path, header: list[str], columns: list[tuple[str, ...]], files: tuple[str, ...]) -> str | None:
    """The first column of the sample that names each row once and is a column of the test table, if there is one."""
    known = read_header(folder / TEST) if TEST in files else header
    for name, cells in zip(header, columns, strict=True):
        if len(set(cells)) == len(cells) and all(cells) and (name in known or name == header[0]):
            return name
    return None


def _holds_answers(path: Path, id_column: str | None, predictions: frozenset[str], ids: frozenset[str]) -> bool:
    """Whether the table `path` has targets of at least a tenth of the rows to predict."""
    if not is_csv(path):
        return False
    header = read_header(path)
    if id_column not in header or not predictions & set(header):
        return False
    return 10 * len(_column(path, str(id_column)) & ids) >= len(ids)


def _shows_test_rows(folder: Path, id_column: str, predictions: frozenset[str]) -> bool:
    """Whether the train table holds at least a tenth of the rows of the test table: equal ids and equal features.

    Equal ids alone say nothing, because in many tasks the ids of both tables begin with 1.
    """
    train, test = read_header(folder / TRAIN), read_header(folder / TEST)
    shared = [name for name in test if name in train and name not in predictions]
    if id_column not in shared or len(shared) < 2 or not predictions & set(train):
        return False
    rows = {tuple(row[test.index(name)] for name in shared) for row in _rows(folder / TEST)}
    shown = {tuple(row[train.index(name)] for name in shared) for row in _rows(folder / TRAIN)}
    return 10 * len(rows & shown) >= max(len(rows), 1)


def _holds_rows(answers: Path, sample: Path) -> bool:
    """Whether each row of the sample submission is a row of the answers, which has its columns among others."""
    columns, header = read_header(sample), read_header(answers)
    if not set(columns) <= set(header):
        return False
    known = {tuple(row[header.index(name)] for name in columns) for row in _rows(answers)}
    return all(tuple(row) in known for row in _rows(sample))


def _has_ids(path: Path, id_column: str | None, ids: frozenset[str]) -> bool:
    """Whether the table `path` names exactly the rows to predict, once each."""
    if not is_csv(path) or id_column not in read_header(path):
        return False
    at = read_header(path).index(str(id_column))
    cells = [row[at] for row in read_rows(path)][1:]
    return len(cells) == len(ids) and set(cells) == ids


def _column(path: Path, name: str) -> set[str]:
    at = read_header(path).index(name)
    return {row[at] for row in _rows(path)}


def _rows(path: Path) -> Iterator[list[str]]:
    """The rows of a table, without its header."""
    rows = read_rows(path)
    next(rows)
    return rows
