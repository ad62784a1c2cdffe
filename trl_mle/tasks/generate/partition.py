"""Splits of a table into train rows and the public and private test rows: at random, by entity, or by time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trl_mle.tasks.generate.columns import CleanTable, is_entity_name
from trl_mle.tasks.generate.refusal import Refusal
from trl_mle.tasks.splits import stratified_mask

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TEST_SHARE, SMALL_TEST_SHARE = 0.4, 0.5
"""Shares of test rows in large and in small tables. Half of the test rows are public, half private: both parts must show
that the reference is better."""
SMALL = 800
"""Rows below which a table is small."""
MIN_PART = 24
"""Fewest rows of each part of the answers."""
MIN_GROUPS = 12
MIN_TIMES = 10
_TIME_NAME = re.compile(r"(?i)(.*[._ -])?(year|yr|date|time|month)s?")


@dataclass(frozen=True)
class Partition:
    """Which row goes where."""

    kind: Literal["random", "group", "time"]
    column: str | None
    """Column of the entities or of the time."""
    is_test: np.ndarray
    """(N,) booleans."""
    is_public: np.ndarray
    """(N,) booleans, true for public test rows only."""


def entity_column(table: CleanTable, target: str) -> str | None:
    """A column of entities with several rows each, such as subjects, or `None`."""
    for name in table.frame.columns:
        values = table.frame[name]
        if name == target or not is_entity_name(name):
            continue
        if table.kinds[name] == "number" and not (values.dropna() == values.dropna().round()).all():
            continue
        groups = values.nunique()
        if MIN_GROUPS <= groups <= len(values) / 3 and values.notna().all():
            return name
    return None


def time_column(table: CleanTable, target: str) -> str | None:
    """A column of dates or years with many different values, or `None`."""
    for name in table.frame.columns:
        values = table.frame[name].dropna()
        if name == target or len(values) < len(table.frame) or values.nunique() < MIN_TIMES:
            continue
        if table.kinds[name] == "date":
            return name
        if table.kinds[name] == "number" and _TIME_NAME.fullmatch(name) and values.between(1600, 2100).all():
            return name
    return None


def split(table: CleanTable, target: str, numeric: bool, alike: pd.Series, seed: int) -> Partition:
    """Choose the test rows and their public half.

    Args:
        table (`CleanTable`):
            N rows, all with a target.
        target (`str`):
            Column by which random and group splits are stratified.
        numeric (`bool`):
            Whether the target is a number.
        alike (`Series`):
            (N,) numbers that are equal for rows with equal features. Such rows stay on one side.
        seed (`int`):
            Seed of the split.

    Raises:
        Refusal: a part would have too few rows.
    """
    import numpy as np

    entity, time = entity_column(table, target), time_column(table, target)
    y = table.frame[target]
    share = SMALL_TEST_SHARE if len(y) < SMALL else TEST_SHARE
    if entity is not None:
        units, kind, column = table.frame[entity].astype(str), "group", entity
    else:
        units, kind, column = alike, "random", None
    if entity is None and time is not None:
        kind, column = "time", time
        is_test = _latest(table.frame[time], share)
        if not 0.2 <= is_test.mean() <= 0.6:
            raise Refusal("too few rows", f"the latest rows by {time!r} are {is_test.mean():.0%}")
        # Rows of one time have much in common, so that a part has whole times.
        is_public = np.zeros(len(y), dtype=bool)
        is_public[is_test] = _choose(table.frame[time][is_test].astype(str), y[is_test], 0.5, seed + 1, numeric)
    else:
        is_test = _choose(units, y, share, seed, numeric)
        is_public = np.zeros(len(y), dtype=bool)
        is_public[is_test] = _choose(units[is_test], y[is_test], 0.5, seed + 1, numeric)
    public, private = int(is_public.sum()), int((is_test & ~is_public).sum())
    if min(public, private) < MIN_PART:
        raise Refusal("too few rows", f"{public} public and {private} private test rows, at least {MIN_PART} of each")
    if not numeric:
        check_classes(y, is_test, is_public)
    return Partition(kind, column, is_test, is_public)  # type: ignore[arg-type]


def _latest(times: pd.Series, share: float) -> np.ndarray:
    """The latest rows, about `share` of them. Rows of one time stay together."""
    ordered = times.sort_values(kind="stable")
    first = ordered.iloc[round((1 - share) * len(ordered))]
    return (times >= first).to_numpy()


def _choose(units: pd.Series, target: pd.Series, share: float, seed: int, numeric: bool) -> np.ndarray:
    """(N,) booleans: `share` of the units, stratified by the unit's mean or most common target."""
    import pandas as pd

    grouped = target.astype("float64" if numeric else str).groupby(units.to_numpy(), sort=True)
    of_unit = grouped.mean() if numeric else grouped.agg(lambda values: values.mode().iloc[0])
    if not 0 < round(share * len(of_unit)) < len(of_unit):
        raise Refusal("too few rows", f"{len(of_unit)} groups of rows")
    mask = stratified_mask(of_unit, share, seed, numeric)
    chosen = pd.Series(mask, index=of_unit.index)
    return units.map(chosen).to_numpy(dtype=bool)


def check_classes(target: pd.Series, is_test: np.ndarray, is_public: np.ndarray) -> None:
    """Raise `Refusal` if a class of the N labels is missing in the train rows or in a part of the test rows."""
    classes = target.astype(str).to_numpy()
    for part, rows in (("train", ~is_test), ("public", is_public), ("private", is_test & ~is_public)):
        missing = set(classes) - set(classes[rows])
        if missing:
            raise Refusal("a class is missing in a part", f"{min(missing)!r} in the {part} part")
