"""Classes with too few rows: left out or merged, if the user says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trl_mle.errors import TaskError

if TYPE_CHECKING:
    import pandas as pd

RareOption = Literal["keep", "drop", "merge"]
OPTIONS: tuple[RareOption, ...] = ("keep", "drop", "merge")
RARE_ROWS = 10
"""Classes with fewer rows than this are rare by default. The train part and both parts of the answers need some of each."""
_LISTED = 5


def check_rare(option: str, rows: int) -> None:
    """Raise `TaskError` if the options are wrong."""
    if option not in OPTIONS:
        raise TaskError(f"rare is {option!r} (`--rare`); write {', '.join(OPTIONS[:-1])} or {OPTIONS[-1]}.")
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 2:
        raise TaskError(f"rare_rows is {rows!r} (`--rare-rows`); write a whole number of at least 2.")


def rare_classes(labels: pd.Series, rows: int = RARE_ROWS) -> dict[str, int]:
    """Number of rows of each class that has fewer than `rows`, by its label."""
    counts = labels.value_counts()
    return {str(label): int(count) for label, count in counts[counts < rows].items()}


def treat_rare(labels: pd.Series, option: RareOption, rows: int = RARE_ROWS) -> tuple[pd.Series, list[str]]:
    """Leave out or merge rare classes.

    Args:
        labels (`Series`):
            (N,) labels.
        option (`str`):
            `"keep"`: nothing is changed. `"drop"`: rows of rare classes are left out. `"merge"`: rare classes become the class
            `other`. A merged class that is still rare is left out.
        rows (`int`, *optional*, defaults to `10`):
            A class with fewer rows is rare.

    Returns:
        `(Series, list[str])`: the labels of the rows that stay, and what was changed in sentences.

    Raises:
        TaskError: fewer than two classes are left.
    """
    rare = rare_classes(labels, rows)
    if option == "keep" or not rare:
        return labels, []
    is_rare = labels.astype(str).isin(rare)
    shown = ", ".join(f"{label!r} ({count})" for label, count in list(rare.items())[:_LISTED])
    shown += f" and {len(rare) - _LISTED} more" if len(rare) > _LISTED else ""
    classes = f"{len(rare)} class{'es' if len(rare) > 1 else ''} of {labels.name!r} with fewer than {rows} rows"
    if option == "merge" and len(rare) > 1 and is_rare.sum() >= rows:
        other = "other"
        while (labels.astype(str) == other).any():
            other += "_"
        merged = labels.astype(object).where(~is_rare, other).map(str)
        merged.name = labels.name
        labels, note = merged, f"{classes} are merged into the class {other!r} ({int(is_rare.sum())} rows): {shown}."
    else:
        kept = labels[~is_rare]
        note = f"{classes} are left out ({int(is_rare.sum())} rows): {shown}."
        labels = kept
    if labels.nunique() < 2:
        raise TaskError(f"{note} Fewer than two classes remain; choose another target or a smaller `--rare-rows`.")
    return labels, [note]
