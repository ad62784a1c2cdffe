"""From a completed proposal to the four tables of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN, Metric, get_metric
from trl_mle.tasks.assemble import TaskTables, divide, strata_of
from trl_mle.tasks.create.dates import read_dates
from trl_mle.tasks.create.proposal import Proposal
from trl_mle.tasks.create.rare_classes import treat_rare
from trl_mle.tasks.create.row_splits import RowSplit
from trl_mle.tasks.feature_columns import decimal_mark, read_features
from trl_mle.tasks.target_column import TargetOptions, read_target

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class LabelledRows:
    """The rows that a task is made of."""

    features: pd.DataFrame
    """(N, F) texts. Index: line of the file."""
    targets: pd.DataFrame
    """(N, T) numbers, whole numbers or labels."""
    keys: pd.Series | None
    """(N,) values by which rows are grouped or ordered; `None` for a random split."""
    metric: Metric
    notes: tuple[str, ...]


def read_rows(proposal: Proposal) -> LabelledRows:
    """Read targets, features and the column of the split.

    Raises:
        TaskError: a column cannot be used as the request says.
    """
    import pandas as pd

    origin, request = proposal.origin, proposal.request
    assert request.metric is not None
    metric = get_metric(request.metric)
    frame = _chosen(proposal)
    decimal, undecided = decimal_mark(frame, origin.separator, request.decimal)
    options = TargetOptions(decimal, bool(request.drop_missing_targets), request.keep_missing_words)
    notes = [*origin.notes, *undecided]
    columns = []
    for name in request.targets:
        target = read_target(frame[name], metric, origin.name, options)
        notes += target.notes
        values = target.values
        if metric.predicts in ("label", "probability"):
            values, more = treat_rare(values, request.rare or "keep", request.rare_rows)  # type: ignore[arg-type]
            notes += more
        columns.append(values)
    targets = pd.concat(columns, axis=1, join="inner")
    _check_several(targets, metric, origin.name)
    features, more = read_features(
        frame.drop(columns=list(request.targets)), decimal, named=request.decimal is not None
    )
    features, dated = with_iso_dates(features)
    split = request.split or RowSplit()
    if copies := int(frame.loc[targets.index].duplicated().sum()):
        notes.append(
            f"{copies} row{' equals' if copies == 1 else 's equal'} an earlier row. Where one is in train.csv, "
            "a program can look the other one up."
        )
    keys = None if split.column is None else split.keys(origin.frame[split.column].loc[targets.index], request.decimal)
    notes += [
        *more,
        *dated,
        *(f"Column {name!r} is left out: {reason}." for name, reason in proposal.left_out.items()),
    ]
    return LabelledRows(features.loc[targets.index], targets, keys, metric, (*notes, *proposal.notes))


def build_tables(
    rows: LabelledRows, proposal: Proposal, test_fraction: float, public_fraction: float, seed: int
) -> TaskTables:
    """Order the rows, give them new ids and divide them.

    Raises:
        TaskError: a part would be empty, or would lack a class.
    """
    import numpy as np
    import pandas as pd

    origin, request = proposal.origin, proposal.request
    targets, numeric = list(request.targets), rows.metric.predicts == "number"
    _check_shares(len(rows.targets), test_fraction, public_fraction)
    split = request.split or RowSplit()
    order = np.random.default_rng(seed).permutation(len(rows.targets))
    if split.kind == "time":
        assert rows.keys is not None
        # Rows of the same time are in random order.
        order = order[np.argsort(pd.factorize(rows.keys.iloc[order], sort=True)[0], kind="stable")]
    chosen = pd.concat([rows.features, rows.targets], axis=1).iloc[order].reset_index(drop=True)
    keys = None if rows.keys is None else rows.keys.iloc[order].reset_index(drop=True)
    share = round(test_fraction * len(chosen)) / len(chosen)
    is_test = split.mask(keys, _stratum(chosen[targets], rows.metric), share, seed, numeric, least=2)

    def public(test: pd.DataFrame) -> np.ndarray:
        test_keys = None if keys is None else keys[is_test]
        stratum = _stratum(test[targets], rows.metric)
        if split.kind == "time":  # the earlier rows are public
            return ~split.mask(test_keys, stratum, 1 - public_fraction, seed + 1, numeric)
        return split.mask(test_keys, stratum, public_fraction, seed + 1, numeric)

    id_column = request.id_column or origin.id_column
    tables = divide(chosen, targets, rows.metric.predicts, is_test, public, id_column)
    _check_classes(tables, targets, rows.metric, split)
    if origin.prediction_columns and request.targets == origin.targets:
        tables = _as_sample(tables, origin.prediction_columns)
    return tables


def _chosen(proposal: Proposal) -> pd.DataFrame:
    """The columns of targets and features."""
    origin, request = proposal.origin, proposal.request
    path, id_column = origin.path, request.id_column or origin.id_column
    if id_column == SPLIT_COLUMN:
        raise TaskError(f"the row ids cannot be called {SPLIT_COLUMN!r}; name them otherwise, for example `--id row`.")
    for target in request.targets:
        if target in request.drop:
            raise TaskError(f"{target!r} is the target and cannot be dropped.")
        if request.split and target == request.split.column:
            raise TaskError(
                f"`--split {request.split}` splits by the target, whose order or groups would then give the answers away; choose "
                "another column."
            )
        if target == id_column:
            raise TaskError(
                f"the target {target!r} has the name of the new row ids; name these otherwise, for example `--id row`."
            )
        if target == SPLIT_COLUMN:
            raise TaskError(f"the target column cannot be called {SPLIT_COLUMN!r}; rename it.")
    frame = origin.frame.drop(columns=list(proposal.left_out))
    if frame.shape[1] <= len(request.targets):
        shown = " and ".join(map(repr, request.targets))
        raise TaskError(f"{path} has no column beside the target {shown}; there is nothing to predict from.")
    if id_column in frame.columns:
        raise TaskError(
            f"{path} has a column {id_column!r}, the name of the new row ids; drop it (`--drop {id_column}`), or name the new ids "
            "otherwise, for example `--id row`."
        )
    return frame


def with_iso_dates(features: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The features with dates as ISO 8601."""
    import pandas as pd

    notes, changed = [], {}
    for name in features.columns:
        dates = read_dates(features[name])
        if dates is None:
            continue
        written = features[name][features[name].str.strip() != ""].iloc[0]
        if dates.ambiguous:
            notes.append(
                f"Column {name!r} stays as it is written: dates such as {written!r} may have the day or the month first."
            )
        elif dates.changed:
            changed[name] = dates.iso
            notes.append(
                f"Dates of column {name!r} are written as ISO 8601: {written!r} as {dates.iso[dates.iso != ''].iloc[0]!r}."
            )
        else:
            notes.append(f"Column {name!r} holds dates, as text.")
    if changed:
        features = pd.DataFrame({name: changed.get(name, features[name]) for name in features.columns})
    return features, notes


def _check_several(targets: pd.DataFrame, metric: Metric, source: str) -> None:
    """What holds for several targets, or for rows in which one of them is missing."""
    if not len(targets):
        raise TaskError(
            f"no row of {source} has a value in each of the targets {', '.join(map(repr, targets.columns))}."
        )
    if targets.shape[1] < 2:
        return
    for name in targets.columns:
        distinct = set(targets[name].astype(str))
        if len(distinct) < 2:
            raise TaskError(f"the target {name!r} of {source} has the same value in each row that has all targets.")
        if metric.predicts == "probability" and not distinct <= {"0", "1"}:
            raise TaskError(
                f"{metric.name} of several targets needs labels 0 and 1, but {name!r} of {source} holds {sorted(distinct)[-1]!r}. "
                "Predict one target, or choose a metric of labels such as accuracy."
            )


def _stratum(targets: pd.DataFrame, metric: Metric) -> pd.Series:
    """(N,) values by which rows are stratified: the first number, or the labels of all targets together."""
    if metric.predicts not in ("label", "probability") or targets.shape[1] == 1:
        return strata_of(targets.iloc[:, 0], metric)
    return targets.astype(str).agg("\x1f".join, axis=1)


def _check_shares(rows: int, test_fraction: float, public_fraction: float) -> None:
    for share, size, option in (
        (test_fraction, rows, "--test-fraction"),
        (public_fraction, round(test_fraction * rows), "--public-fraction"),
    ):
        if not 0 < round(share * size) < size:
            raise TaskError(
                f"{size} {'rows' if option == '--test-fraction' else 'test rows'} cannot be split with a share of {share} "
                f"(`{option}`): one part would be empty. Give more rows or another share."
            )


def _check_classes(tables: TaskTables, targets: Sequence[str], metric: Metric, split: RowSplit) -> None:
    """Every class must be learnable from the train rows. Some scores also need every class in each part of the answers."""
    if metric.predicts in ("number", "text"):
        return
    answers = tables.answers
    public = answers[SPLIT_COLUMN] == "public"
    for target in targets:
        parts = {"train": set(tables.train[target])}
        if metric.needs_every_class:
            parts |= {"public": set(answers.loc[public, target]), "private": set(answers.loc[~public, target])}
        values = [*tables.train[target], *answers[target]]
        for value in sorted(set(values)):
            for part, present in parts.items():
                if value not in present:
                    fix = "change the fractions" if split.column is None else "change the fractions or the split"
                    raise TaskError(
                        f"class {value!r} of {target!r} has only {values.count(value)} rows, and none of them is in the {part} "
                        f"part; leave out or merge rare classes (`--rare drop`, `--rare merge`), or {fix}."
                    )


def _as_sample(tables: TaskTables, columns: Sequence[str]) -> TaskTables:
    """The tables with the prediction columns of a sample submission, in its order."""
    id_column, *own = tables.sample.columns
    if len(own) == len(columns) == 1:
        return replace(tables, sample=tables.sample.set_axis([id_column, *columns], axis=1))
    if set(own) != set(columns):
        return tables
    return replace(tables, sample=tables.sample[[id_column, *columns]])
