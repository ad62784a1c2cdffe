"""Which column is to be predicted: by its name and its place, or a question."""

from __future__ import annotations

from collections.abc import Mapping

from trl_mle.errors import TaskError
from trl_mle.tasks.create.column_kinds import Column, ColumnKind, words_of
from trl_mle.tasks.create.questions import Choice, Question

TARGET_NAMES = frozenset(("target", "label", "labels", "y", "class", "outcome", "response", "groundtruth"))
"""Names that only a target has."""
_TARGET_WORDS = frozenset(("target", "label", "outcome"))
COMMON_NAMES = frozenset(
    [
        "survived",
        "price",
        "saleprice",
        "sale",
        "species",
        "churn",
        "churned",
        "exited",
        "default",
        "diagnosis",
        "quality",
        "fraud",
        "isfraud",
        "sales",
        "revenue",
        "salary",
        "income",
        "medv",
        "charges",
        "cost",
        "score",
        "grade",
        "rating",
        "status",
        "approved",
        "attrition",
        "disease",
        "stroke",
        "diabetes",
        "type",
        "category",
        "result",
        "variety",
        "mpg",
        "demand",
        "spam",
        "sentiment",
        "toxic",
        "readmitted",
        "defaulted",
        "subscribed",
        "converted",
        "clicked",
    ]
)
"""Names that targets often have, and features, too."""
_LISTED = 6
_PREDICTABLE = (ColumnKind.WHOLE, ColumnKind.NUMBER, ColumnKind.CATEGORY)


def guess_target(columns: Mapping[str, Column], source: str) -> tuple[str, str] | Question:
    """The target and the reason, or a question if several columns are plausible.

    Sure is a table in which one column has a name that only targets have, or one whose last column has a name that targets often
    have while no other column has such a name.

    Raises:
        TaskError: no column can be predicted.
    """
    usable = [name for name, column in columns.items() if is_predictable(column)]
    if not usable:
        raise TaskError(
            f"no column of {source} can be predicted: ids, dates, constants and texts that hardly repeat are no targets. "
            "Name one with `--target` if you think so."
        )
    named = [name for name in usable if has_target_name(name)]
    if len(named) == 1:
        return named[0], "by its name"
    common = [name for name in usable if "".join(words_of(name)) in COMMON_NAMES]
    last = list(columns)[-1]
    blocked = [name for name in columns if name not in usable and _may_be_meant(columns[name])]
    if not named and common == [last] and not blocked:
        return last, "by its name, as the last column"
    candidates = named or list(dict.fromkeys([*common, *([last] if last in usable else []), usable[0], *usable[::-1]]))
    shown = candidates[:_LISTED]
    choices = [Choice(describe(columns[name]), f"--target {quoted(name)}", {"target": (name,)}) for name in shown]
    if len(named) > 1:
        together = " ".join(f"--target {quoted(name)}" for name in named)
        choices.append(Choice("all of them", together, {"target": tuple(named)}))
    count = len(candidates) - len(shown)
    more = f" ({count} more column{'s' * (count > 1)} not shown)" if count else ""
    for name in blocked[:_LISTED]:
        column = columns[name]
        reason = f", because {column.no_number}" if column.no_number else ""
        more += f" Column {name!r} cannot be predicted as it is ({describe(column)}){reason}."
    return Question(f"Which column is to be predicted?{more}", tuple(choices))


def _may_be_meant(column: Column) -> bool:
    """Whether a column that cannot be predicted has a name that targets have."""
    common = "".join(words_of(column.name)) in COMMON_NAMES and column.no_number != ""
    return not column.id_name and (has_target_name(column.name) or common)


def is_predictable(column: Column) -> bool:
    """Whether the column may be a target, as far as its values say."""
    if column.id_name or column.kind not in _PREDICTABLE or column.distinct < 2:
        return False
    return not (column.counts_rows and column.rows > 20) and not column.has_odd_texts


def has_target_name(name: str) -> bool:
    """Whether `name` is one that only a target has, such as `label`, `target_2` or `is_target`."""
    words = words_of(name)
    return "".join(words) in TARGET_NAMES or (bool(words) and not {words[0], words[-1]}.isdisjoint(_TARGET_WORDS))


def describe(column: Column) -> str:
    """Kind and number of values, in words."""
    missing = f", {column.missing} missing" if column.missing else ""
    return f"{column.kind.value}, {column.distinct} different{missing}"


def quoted(text: str) -> str:
    """`text` as a word of a shell's command line."""
    import shlex

    return shlex.quote(text)
