"""One schema for all Parquet files of a run, so that the folder reads as one table.

Readers take the schema from the first file: pandas from the first of the folder, `datasets` from the first of a split. The types
of later files must fit it. A batch may hold nothing but missing values in a column, or whole numbers where the next one has
fractions, so the types are known only bit by bit.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from pyarrow import parquet

FILE_NAME = re.compile(r"(?P<kind>\w+?)_(?P<step>\d+)_(?P<index>\d+)\.parquet")
"""Name of a file of rollouts. Whatever else a user keeps in the folder is left alone."""
MAX_DEPTH = 8
"""Lists and dictionaries in each other that have a type of their own in a column. What is deeper is written as text."""
_ATOMS = frozenset({type(None), bool, int, float, str})


class RolloutSchema:
    """The columns that files in `folder` have, with types that hold the values of all of them.

    A new column, or the first value of one, changes only the first file of each kind: readers fill in what later files lack.
    A column whose type changes (whole numbers and fractions, numbers and text) is converted in all files. That happens at most
    twice per column.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._known: pyarrow.Schema | None = None

    def forget(self) -> None:
        """Read the files again before the next one is fitted, because some have been removed."""
        self._known = None

    def fit(self, table: pyarrow.Table) -> pyarrow.Table:
        """`table` with the columns and types of the run. Files that are there already are fitted to those of `table`."""
        if self._known is None:
            self._known = self._of_files()
        merged = _merged([self._known, table.schema])
        if not merged.equals(self._known):
            changed = any(not _reads_as(field.type, merged.field(field.name).type) for field in self._known)
            self._rewrite(self._files() if changed else self._first_files(), merged)
            self._known = merged
        return cast_table(table, merged)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.parquet") if FILE_NAME.fullmatch(path.name))

    def _first_files(self) -> list[Path]:
        """The first file of each kind, such as `train`."""
        first: dict[str, Path] = {}
        for path in self._files():
            first.setdefault(path.name.partition("_")[0], path)
        return list(first.values())

    def _of_files(self) -> pyarrow.Schema:
        """The schema of a run that is resumed. Its first files get it, because earlier versions did not keep to one."""
        schemas = []
        for path in self._files():
            try:
                schemas.append(parquet.read_schema(path))
            except Exception:  # damaged: `read_rollouts` names it
                continue
        merged = _merged(schemas)
        self._rewrite(self._first_files(), merged)
        return merged

    def _rewrite(self, paths: Iterable[Path], schema: pyarrow.Schema) -> None:
        for path in paths:
            try:
                table = parquet.read_table(path, partitioning=None)
            except Exception:  # damaged
                continue
            if not table.schema.equals(schema):
                write_table(cast_table(table, schema), path)


def write_table(table: pyarrow.Table, path: Path) -> None:
    """Write `table` to `path`, whole or not at all."""
    partial = path.with_suffix(".partial")
    # `datasets.Dataset.to_parquet` writes the same file, but takes 12 ms instead of 0.5 in every step of training.
    parquet.write_table(table, partial)
    os.replace(partial, path)


def cast_table(table: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Table:
    """`table` with the columns of `schema`. A column that it lacks holds missing values; what has no cast becomes text."""
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pyarrow.nulls(len(table), field.type))
            continue
        column = table.column(field.name)
        if not column.type.equals(field.type):
            try:
                column = column.cast(field.type, safe=False)
            except pyarrow.ArrowException:
                column = pyarrow.array(map(_scalar_as_text, column), pyarrow.string())
        columns.append(column)
    return pyarrow.table(columns, schema=schema)


def as_column(values: list) -> pyarrow.Array:
    """`values` as one column. Flags, numbers, text, and lists and dictionaries of these keep their type if they have a common one.

    Everything else is written as text: a value that a reward function logs must not end a run, least of all on the one
    process that writes.
    """
    try:
        column = pyarrow.array(values if _ATOMS.issuperset(map(type, values)) else [_plain(value) for value in values])
        if not _has_empty_struct(column.type):
            return column
    except Exception:  # no common type, or objects of a user that raise whatever they like
        pass
    return pyarrow.array([None if value is None else as_text(value) for value in values], pyarrow.string())


def as_text(value: Any) -> str:
    """`value` as text that UTF-8 has: itself, JSON, or Python's own form of it."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    except Exception:  # keys that JSON does not have, a value that holds itself, or a `__str__` that raises
        try:
            text = repr(value)
        except Exception:
            text = f"<{type(value).__name__}>"
    # Surrogates, which a tokenizer may leave, have no UTF-8.
    return text.encode(errors="replace").decode()


def _plain(value: Any, depth: int = 0) -> Any:
    """`value` made of Python's own types alone, of which Arrow makes a column.

    Of other types, some mixtures end the interpreter (`numpy.datetime64` and `numpy.float16`, pyarrow 26), and some are
    written but cannot be converted later (dates that become whole numbers).

    Raises:
        TypeError: it has no such form.
    """
    if type(value) in _ATOMS:
        return value
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biufU":
        return _plain(value.tolist(), depth)
    if depth < MAX_DEPTH and isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if depth < MAX_DEPTH and isinstance(value, dict) and all(type(key) is str for key in value):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    for kind in (int, float, str):  # members of an `IntEnum` or `StrEnum`
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"{type(value).__name__} is written as text")


def _scalar_as_text(value: pyarrow.Scalar) -> str | None:
    try:
        plain = value.as_py()
    except Exception:  # a date that Python does not have, in a file of an earlier version
        return f"<{value.type}>"
    return None if plain is None else as_text(plain)


def _merged(schemas: list[pyarrow.Schema]) -> pyarrow.Schema:
    types: dict[str, pyarrow.DataType] = {}
    for schema in schemas:
        for field in schema:
            types[field.name] = _common(types[field.name], field.type) if field.name in types else field.type
    return pyarrow.schema(list(types.items()))


def _common(one: pyarrow.DataType, other: pyarrow.DataType) -> pyarrow.DataType:
    """The type to which columns of both types can be cast; text if they have no other."""
    if one.equals(other):
        return one
    fields = [pyarrow.schema([("value", kind)]) for kind in (one, other)]
    try:
        common = pyarrow.unify_schemas(fields, promote_options="permissive").field("value").type
        for kind in (one, other):
            pyarrow.nulls(0, kind).cast(common, safe=False)
        return common
    except (pyarrow.ArrowException, TypeError):
        return pyarrow.string()


def _reads_as(kind: pyarrow.DataType, wanted: pyarrow.DataType) -> bool:
    """Whether readers take a column of type `kind` for one of type `wanted`: it is the same, or holds no value yet."""
    if kind.equals(wanted) or pyarrow.types.is_null(kind):
        return True
    lists = pyarrow.types.is_list(kind) and pyarrow.types.is_list(wanted)
    return lists and _reads_as(kind.value_type, wanted.value_type)


def _has_empty_struct(kind: pyarrow.DataType) -> bool:
    """Whether values of this type hold dictionaries without a key, which Parquet cannot store."""
    if pyarrow.types.is_struct(kind):
        return kind.num_fields == 0 or any(_has_empty_struct(kind.field(i).type) for i in range(kind.num_fields))
    return pyarrow.types.is_list(kind) and _has_empty_struct(kind.value_type)
