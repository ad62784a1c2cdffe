"""Duplicates: rows with equal features, and tables that are copies or relatives of each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 4
"""Significant digits to which numbers are compared."""
MIN_VALUES = 12
"""Different values from which on a column tells tables apart."""
COPY_SHARE = 0.5
"""Share of equal columns beyond which two tables are copies."""
NAMES_SHARE = 0.8
MIN_NAMES = 4


@dataclass(frozen=True)
class Fingerprint:
    """What is compared between tables."""

    columns: frozenset[str]
    """Hash of the sorted values of each column with at least `MIN_VALUES` different ones."""
    names: frozenset[str]
    """Names in lower case."""
    stamp: str
    """Digest of the whole content, in its order."""


@dataclass(frozen=True)
class Relation:
    """How a table is related to those before it."""

    family: str
    """Key of the first table of the family. Tasks of one family are on one side of the train / held-out split."""
    copy_of: str | None
    """Key of an earlier table that holds the same columns."""


def alike(features: pd.DataFrame) -> pd.Series:
    """(N,) hashes that are equal for rows whose features are equal, with numbers to `DIGITS` digits and text in lower case."""
    import pandas as pd

    return pd.util.hash_pandas_object(
        pd.DataFrame({name: _coarse(features[name]) for name in features.columns}), index=False
    )


def fingerprint(table: pd.DataFrame) -> Fingerprint:
    """The fingerprint of a table as it is stored. The order of rows and columns does not count."""
    import numpy as np
    import pandas as pd

    hashes = set()
    for name in table.columns:
        values = _coarse(table[name].dropna())
        # A row number is in many tables.
        if values.nunique() < MIN_VALUES or _counts_up(table[name]):
            continue
        if values.dtype == object:
            content = "\n".join(sorted(values)).encode("utf-8", "replace")
        else:
            content = (np.sort(values.to_numpy(dtype=np.float64)) + 0.0).tobytes()  # 0.0 and -0.0 are one number
        hashes.add(hashlib.sha256(content).hexdigest())
    names = {str(name).strip().lower() for name in table.columns if not str(name).startswith("Unnamed")}
    rows = pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()
    stamp = hashlib.sha256(repr(list(table.columns)).encode("utf-8", "replace") + rows).hexdigest()[:16]
    return Fingerprint(frozenset(hashes), frozenset(names), stamp)


def relate(fingerprints: Sequence[tuple[str, Fingerprint]]) -> dict[str, Relation]:
    """Families and copies among tables, given as (key, fingerprint) in the order in which they count as originals."""
    parent = {key: key for key, _ in fingerprints}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    copies: dict[str, str] = {}
    order = {key: at for at, (key, _) in enumerate(fingerprints)}
    for at, (key, one) in enumerate(fingerprints):
        for other_key, other in fingerprints[:at]:
            is_copy = _are_copies(one, other)
            if is_copy and other_key not in copies:
                copies.setdefault(key, other_key)
            if is_copy or _have_names_in_common(one, other):
                first, second = sorted((root(key), root(other_key)), key=lambda each: order[each])
                parent[second] = first
    return {key: Relation(root(key), copies.get(key)) for key, _ in fingerprints}


def _are_copies(one: Fingerprint, other: Fingerprint) -> bool:
    smaller = min(len(one.columns), len(other.columns))
    return smaller > 0 and len(one.columns & other.columns) >= COPY_SHARE * smaller


def _have_names_in_common(one: Fingerprint, other: Fingerprint) -> bool:
    common, union = len(one.names & other.names), len(one.names | other.names)
    return common >= MIN_NAMES and common >= NAMES_SHARE * union


def _counts_up(values: pd.Series) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_integer_dtype(values) and values.is_monotonic_increasing and values.is_unique)


def _coarse(values: pd.Series) -> pd.Series:
    import numpy as np
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return values.astype(object).fillna("").astype(str).str.strip().str.lower().astype(object)
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(all="ignore"):
        scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(numbers))))
        rounded = np.round(numbers * scale) / scale
    # Where the scale is not finite, as for 0, the number itself counts.
    return pd.Series(np.where(np.isfinite(rounded), rounded, numbers), index=values.index)
