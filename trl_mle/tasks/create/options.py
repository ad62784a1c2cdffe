"""The options of `create_task`, checked before the table is read. Each error names the option."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from trl_mle.errors import TaskError
from trl_mle.tasks.create.row_splits import RowSplit
from trl_mle.types import LONGEST_S

_LISTED = 5


def check_options(
    out: Path | str, test_fraction: Any, public_fraction: Any, time_limit_s: Any, seed: Any, decimal: Any
) -> Path:
    """The folder to make, with `~` expanded.

    Raises:
        TaskError: an option has a value that cannot work, or `out` exists.
    """
    for name, share in (("test_fraction", test_fraction), ("public_fraction", public_fraction)):
        if not _is_number(share) or not 0.0 < share < 1.0:
            raise TaskError(f"{name} is {share!r} ({_flag(name)}); write a share between 0 and 1.")
    if not _is_number(time_limit_s) or not 0 < time_limit_s <= LONGEST_S:
        raise TaskError(
            f"time_limit_s is {time_limit_s!r} ({_flag('time_limit_s')}); write a positive number of seconds, at most a year."
        )
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or seed < 0:
        raise TaskError(f"seed is {seed!r} ({_flag('seed')}); write a whole number of at least 0.")
    if decimal not in (None, ".", ","):
        raise TaskError(f"decimal is {decimal!r} ({_flag('decimal')}); write '.' or ','.")
    return _new_folder(out)


def _new_folder(out: Path | str) -> Path:
    if not isinstance(out, (str, PurePath)) or not str(out).strip() or "\0" in str(out):
        raise TaskError(f"out is {str(out)!r} ({_flag('out')}); write the name of the folder to make.")
    try:
        path = Path(out).expanduser()
        if path.name in ("", ".."):
            raise TaskError(
                f"out is {str(out)!r} ({_flag('out')}), which names no new folder; write for example my-task."
            )
        if path.is_symlink() or path.exists():
            raise TaskError(f"{path} exists already ({_flag('out')}); choose another folder or remove it.")
        os.fsencode(path)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"out is {str(out)!r} ({_flag('out')}), which cannot be a folder: {error}.") from error
    return path


def read_description(
    text: str | None,
    targets: Sequence[str],
    missing_words: dict[str, list[str]],
    image_column: str | None = None,
    split: RowSplit | None = None,
) -> str:
    """The text of `description.md`, with what a program must know to read the files as they are meant."""
    if not isinstance(text, (str, type(None))):
        raise TaskError(f"description is {text!r} ({_flag('description')}); write a text.")
    what = f"column{'s' if len(targets) > 1 else ''} {' and '.join(f'`{name}`' for name in targets)}"
    paragraphs = [
        (text or "").strip() or f"Predict the {what} from the {'image' if image_column else 'other columns'}."
    ]
    if image_column:
        paragraphs.append(f"The column `{image_column}` names the image of each row, as a path in input/.")
    if split is not None and split.kind == "group":
        paragraphs.append(f"No row of test.csv has a value of `{split.column}` that train.csv has.")
    elif split is not None and split.kind == "time":
        paragraphs.append(f"The rows of test.csv are later than those of train.csv, by `{split.column}`.")
    if missing_words:
        words = sorted({word for found in missing_words.values() for word in found})
        names = [f"`{name}`" for name in missing_words]
        shown = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
        paragraphs.append(
            f"`pandas.read_csv` takes {', '.join(map(repr, words))} in {shown} for missing values "
            "unless `keep_default_na=False` is given."
        )
    return "\n\n".join(paragraphs)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _flag(name: str) -> str:
    return f"`--{name.replace('_', '-')}`"
