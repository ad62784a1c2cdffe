"""The facts about a task that every prompt states, read from the task's public files."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.prompts.file_list import file_lines, path_of
from trl_mle.prompts.table_summary import clean, escape_line, name_of
from trl_mle.prompts.train_and_test import read_tables
from trl_mle.special_tokens import escape
from trl_mle.text_tables import READ_ERRORS, next_row, open_bytes, separator_of
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
MAX_DESCRIPTION = 1200
"""Longest description of a task in a prompt, in characters."""
MAX_TITLE = 100
"""Longest title of a task in a prompt, in characters."""
MAX_METRIC = 200
"""Longest name of a metric in a prompt, in characters."""
SAMPLE_ROWS = 2
"""Rows of the sample submission that are shown."""
MAX_HEADER = 400
"""Longest header of the sample submission that is shown, in characters. A longer one is described in words, never cut."""
SHOWN_NAMES = 4
"""Names of columns that stand in this description."""

LABELS = "One label in each row."
NUMBERS = "One finite number in each row."
METRIC_TEXTS: dict[str, tuple[str, str]] = {
    "accuracy": ("accuracy", LABELS),
    "balanced_accuracy": ("balanced accuracy (mean recall of the classes)", LABELS),
    "f1_macro": ("F1, mean of the classes", LABELS),
    "f1_weighted": ("F1, mean of the classes weighted by their rows", LABELS),
    "matthews_corrcoef": ("Matthews correlation coefficient", LABELS),
    "log_loss": ("logarithmic loss", "The probability of label 1 in each row, between 0 and 1."),
    "roc_auc": ("area under the ROC curve", "The probability of label 1 in each row, between 0 and 1."),
    "rmse": ("root mean squared error", NUMBERS),
    "rmsle": ("root mean squared error of log(1 + y)", "One finite number of at least 0 in each row."),
    "mae": ("mean absolute error", NUMBERS),
    "median_absolute_error": ("median absolute error", NUMBERS),
    "r2": ("R2, the coefficient of determination", NUMBERS),
    "r2_clipped": ("R2, the coefficient of determination, cut off at 0 and 1", NUMBERS),
    "jaccard": ("Jaccard index of the words of two texts in lower case, mean of the rows", "One text in each row."),
}
"""By metric: its name in the prompt, and the content of a single prediction column."""


PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Version of Python that prompts state: that of this interpreter, which the local sandbox and Ray run programs with."""


@cache
def template(name: str) -> jinja2.Template:
    """The template `name` of `templates/`. A variable that a template uses and that is not given is an error."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template(name)


def task_values(task: TaskSpec) -> Mapping[str, object]:
    """The variables of `templates/task.j2` for `task`. The files are read again only if they have changed.

    Raises:
        TaskError: a public file cannot be read.
    """
    versions = []
    for path in filter(None, (task.train_path, task.test_path, task.sample_path, task.public_dir)):
        try:
            state = path.stat()
        except OSError as error:
            raise _unreadable(task, error) from error
        versions.append((state.st_mtime_ns, state.st_size))
    return _read_values(task, tuple(versions))


@lru_cache(maxsize=64)
def _read_values(task: TaskSpec, versions: tuple[tuple[int, int], ...]) -> Mapping[str, object]:
    """The variables for one version of the public files: a run asks for the prompt of a task once per group."""
    named = {name for name in (task.train_file, task.test_file, task.sample_file) if name is not None}
    try:
        tables = read_tables(task)
        sample = _sample(task.sample_path)
        files = file_lines(task.public_dir, named - tables.left)
    except (*READ_ERRORS, ValueError, csv.Error) as error:
        raise _unreadable(task, error) from error
    rows = path_of(
        task.test_file or task.sample_file if task.id_column is None or task.test_file else task.sample_file
    )
    each = f"each row of {rows}, in its order" if task.id_column is None else f"each id of {rows}"
    return MappingProxyType(
        {
            "title": clean(task.title, MAX_TITLE),
            "description": _cut(task.description, MAX_DESCRIPTION),
            "metric": _metric(task),
            "better": "higher" if task.direction == "maximize" else "lower",
            **tables.values(),
            "files": files,
            "each": each,
            "sample_file": path_of(task.sample_file),
            **sample,
            "predictions": _predictions(task),
            "time_limit_s": f"{task.time_limit_s:g}",
            "threads": task.threads,
            "memory_gib": gib(task.memory_bytes),
            "packages": escape(", ".join(task.packages)),
            "python": PYTHON,
        }
    )


def gib(size: int) -> str:
    """A size in bytes as a number of GiB."""
    return f"{size / 1024**3:.3g}"


def _metric(task: TaskSpec) -> str:
    if task.metric_text is not None:
        return clean(task.metric_text, MAX_METRIC)
    words = METRIC_TEXTS[task.metric][0] if task.metric in METRIC_TEXTS else clean(task.metric, MAX_METRIC)
    return words if len(task.target_columns) < 2 else f"{words}, mean of the {len(task.target_columns)} targets"


def _predictions(task: TaskSpec) -> str:
    """What the prediction columns hold. Only the sample says it for a metric that is not one of ours."""
    if task.metric not in METRIC_TEXTS:
        return "Fill the columns as the sample does."
    words = METRIC_TEXTS[task.metric][1]
    if len(task.target_columns) > 1:
        return words.replace("in each row", "in each row of each of these columns")
    if len(task.prediction_columns) == 1:
        return words
    if task.metric in ("log_loss", "roc_auc") and task.target_columns:
        return "One probability per class, between 0 and 1; each row is divided by its sum."
    return "Fill the columns as the sample does."


def _unreadable(task: TaskSpec, error: Exception) -> TaskError:
    return TaskError(f"the public files of task {task.id!r} in {task.public_dir} cannot be read: {error}")


def _cut(text: str, limit: int) -> str:
    """`text` with its line breaks and without code fences, which a policy could take for those of its answer."""
    text = text.replace("```", "").strip()
    return escape(text if len(text) <= limit else text[: limit - 3] + "...")


def _sample(path: Path) -> dict[str, object]:
    """Header and first rows of the sample submission as CSV, or in words if the header is too long to be shown whole."""
    with open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator_of(path))
        rows = list(islice(iter(lambda: next_row(reader), None), SAMPLE_ROWS + 1))
    header = rows[0] if rows else []
    lines = [_csv_line(row) for row in rows]
    # A name that is escaped in the prompt is another name in a file.
    if len(lines[0] if lines else "") <= MAX_HEADER and (not rows or lines[0] == _plain_line(header)):
        # Values may be cut: only their form matters. Escapes would look like a part of them.
        values = [
            line if len(line) <= MAX_HEADER else _csv_line([clean(cell, 12) for cell in row])
            for line, row in zip(lines[1:], rows[1:], strict=True)
            if line == _plain_line(row)
        ]
        return {"sample": [*lines[:1], *values], "columns": len(header), "first": "", "last": ""}
    first = ", ".join(map(name_of, header[:SHOWN_NAMES]))
    return {"sample": [], "columns": len(header), "first": first, "last": name_of(header[-1])}


def _csv_line(cells: list[str]) -> str:
    """One line of CSV. Line breaks and what could end the code block or the message are escaped, as the file cannot have them."""
    return escape_line(_plain_line(cells))


def _plain_line(cells: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()
