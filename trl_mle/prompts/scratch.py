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
from trl_mle.prompts.table_summary import MAX_VALUE, clean, count_rows, escape_line, name_of, summarize
from trl_mle.special_tokens import escape
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    import jinja2
    import pandas as pd

TEMPLATES = Path(__file__).parent / "templates"
PUBLIC_FILES = ("train.csv", "test.csv", "sample_submission.csv")
MAX_DESCRIPTION = 1200
"""Longest description of a task in a prompt, in characters."""
MAX_TITLE = 100
"""Longest title of a task in a prompt, in characters."""
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
    for name in PUBLIC_FILES:
        try:
            state = (task.public_dir / name).stat()
        except OSError as error:
            raise _unreadable(task, error) from error
        versions.append((state.st_mtime_ns, state.st_size))
    return _read_values(task, tuple(versions))


@lru_cache(maxsize=64)
def _read_values(task: TaskSpec, versions: tuple[tuple[int, int], ...]) -> Mapping[str, object]:
    """The variables for one version of the public files: a run asks for the prompt of a task once per group."""
    try:
        train, notes = _train(task)
        notes += _id_notes(task.public_dir / "test.csv", task.id_column)
        test_rows = count_rows(task.public_dir / "test.csv")
        sample = _sample(task.public_dir / "sample_submission.csv")
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(task, error) from error
    metric, predictions = METRIC_TEXTS.get(task.metric, (task.metric, "Fill the columns as the sample does."))
    if len(task.prediction_columns) > 1:
        predictions = "One probability per class, between 0 and 1; each row is divided by its sum."
    return MappingProxyType(
        {
            "title": clean(task.title, MAX_TITLE),
            "description": _cut(task.description, MAX_DESCRIPTION),
            "metric": metric,
            "better": "higher" if task.direction == "maximize" else "lower",
            "train": summarize(train, task.id_column, task.target_column),
            "notes": notes,
            "test_rows": test_rows,
            "target": name_of(task.target_column),
            **sample,
            "predictions": predictions,
            "time_limit_s": f"{task.time_limit_s:g}",
            "threads": task.threads,
            "memory_gib": f"{task.memory_bytes / 1024**3:.3g}",
            "packages": escape(", ".join(task.packages)),
            "python": PYTHON,
        }
    )


def _unreadable(task: TaskSpec, error: Exception) -> TaskError:
    return TaskError(f"the public files of task {task.id!r} in {task.public_dir} cannot be read: {error}")


def _id_notes(path: Path, column: str | None) -> list[str]:
    """A sentence about ids that a program reads as missing, or two of them as one, if there are any."""
    import pandas as pd

    if column is None:
        return []
    ids = pd.read_csv(path, usecols=[column])[column]
    lost = ids.isna() | ids.duplicated(keep=False)
    if not lost.any():
        return []
    written = pd.read_csv(path, usecols=[column], dtype=str, keep_default_na=False, skip_blank_lines=False)[column]
    example = clean(written[lost.to_numpy()].iloc[0], MAX_VALUE) if len(written) == len(ids) else ""
    such = f" such as {example!r}" if example else ""
    return [
        f"`pandas.read_csv` takes ids{such} for missing or for equal ones unless {name_of(column)} is read with `dtype=str` and "
        "`keep_default_na=False`."
    ]


def _train(task: TaskSpec) -> tuple[pd.DataFrame, list[str]]:
    """The train rows as programs read them, and a sentence about labels such as `None`, which stand there as they are written."""
    import pandas as pd

    path, name = task.public_dir / "train.csv", task.target_column
    train = pd.read_csv(path)
    if name not in train:
        raise TaskError(f"{path} has no column {name!r}, the target of task {task.id!r}.")
    missing = train[name].isna()
    if not missing.any() or (pd.api.types.is_numeric_dtype(train[name]) and not missing.all()):
        return train, []
    written = pd.read_csv(path, usecols=[name], dtype=str, keep_default_na=False, skip_blank_lines=False)[name]
    if len(written) != len(train) or not (words := sorted(set(written[missing]) - {""})):
        return train, []
    shown = ", ".join(repr(clean(word, MAX_VALUE)) for word in words)
    sentence = f"`pandas.read_csv` takes {shown} in {name_of(name)} for missing values unless `keep_default_na=False` is given."
    return train.assign(**{name: written.where(written != "")}), [sentence]


def _cut(text: str, limit: int) -> str:
    """`text` with its line breaks and without code fences, which a policy could take for those of its answer."""
    text = text.replace("```", "").strip()
    return escape(text if len(text) <= limit else text[: limit - 3] + "...")


def _sample(path: Path) -> dict[str, object]:
    """Header and first rows of the sample submission as CSV, or in words if the header is too long to be shown whole."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(islice(csv.reader(file), SAMPLE_ROWS + 1))
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
