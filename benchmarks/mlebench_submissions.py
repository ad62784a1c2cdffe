"""Thirty submissions of any competition whose answers have the columns of its sample submission: good ones and bad ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd


def submissions(truth: pd.DataFrame, id_column: str, seed: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of each submission. `truth` has the columns of a submission, and the answers."""
    rng = np.random.default_rng(seed)
    targets = [column for column in truth.columns if column != id_column]
    numeric = all(pd.api.types.is_numeric_dtype(truth[column]) for column in targets)
    classes = numeric and len(targets) > 1 and bool((truth[targets].sum(axis=1) == 1).all())

    def noisy(level: float) -> pd.DataFrame:
        made = truth.copy()
        if not numeric:
            keep = rng.random(len(made)) > level
            made[targets[0]] = made[targets[0]].where(keep, made[targets[0]].str.split().str[0] + " zzz")
        elif classes:
            values = truth[targets].to_numpy(float) + rng.random((len(made), len(targets))) * level + 1e-9
            made[targets] = values / values.sum(axis=1, keepdims=True)
        else:
            scale = truth[targets].std().to_numpy()
            noise = rng.normal(size=(len(made), len(targets))) * scale * level
            made[targets] = np.clip(truth[targets] + noise, 0, max(1.0, float(truth[targets].max().max())))
        return made

    def csv(table: pd.DataFrame, **options: object) -> bytes:
        return table.to_csv(index=False, **options).encode()  # type: ignore[arg-type]

    good, first = noisy(0.5), targets[0]
    yield "answers", csv(truth)
    for level in (0.1, 0.2, 0.3, 0.5, 0.8, 1.5, 3.0, 8.0):
        yield f"noise {level}", csv(noisy(level))
    yield (
        "float ids",
        csv(good.assign(**{id_column: good[id_column].astype(float)}) if _numbers(good, id_column) else good),
    )
    yield "rounded", csv(good, float_format="%.3f")
    yield "columns turned round", csv(good[[id_column, *reversed(targets)]])
    yield "byte order mark", b"\xef\xbb\xbf" + csv(good)
    yield "Windows line ends", csv(good).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if numeric else csv(good)
    yield "id last", csv(good[[*targets, id_column]])
    yield "index column", good.to_csv().encode()
    yield "one more column", csv(good.assign(note=1))
    yield "column missing", csv(good.drop(columns=first))
    yield "id column missing", csv(good.drop(columns=id_column))
    yield "row missing", csv(good.iloc[1:])
    yield "row twice", csv(pd.concat([good, good.iloc[:1]]))
    yield "one row for another", csv(pd.concat([good.iloc[1:], good.iloc[1:2]]))
    yield "header alone", csv(good.iloc[:0])
    yield "empty", b""
    yield "text", csv(_with(good, first, "many"))
    yield "missing value", csv(_with(good, first, None))
    yield "infinite", csv(_with(good, first, np.inf))
    yield "negative", csv(_with(good, first, -5.0))
    yield "too large", csv(_with(good, first, 7.5))
    yield "binary", bytes(range(256)) * 10


def _numbers(table: pd.DataFrame, column: str) -> bool:
    return pd.api.types.is_numeric_dtype(table[column])


def _with(table: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    cells = table[column].astype(object)
    cells.iloc[len(cells) // 2] = value
    return table.assign(**{column: cells})
