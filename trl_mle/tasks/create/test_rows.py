"""The unlabelled test rows of a Kaggle folder, with the features that a task made from its train rows has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.create.folders import unlabelled_tables
from trl_mle.tasks.create.proposal import Proposal
from trl_mle.tasks.create.tables import LabelledRows, with_iso_dates
from trl_mle.tasks.feature_columns import decimal_mark, read_features
from trl_mle.tasks.text_table import read_text_table

if TYPE_CHECKING:
    import pandas as pd


def read_test_rows(
    proposal: Proposal, rows: LabelledRows, sep: str | None = None, encoding: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Features and ids of the rows of `test.csv`, in its order.

    Decimal commas and dates are written as in the train rows. Ids are those of the id column. If the test table lacks it, they
    are those of the sample submission, or the row numbers from 0.

    Args:
        proposal ([`Proposal`]):
            What the task was made of.
        rows ([`LabelledRows`]):
            The train rows of `proposal`.
        sep, encoding (`str`, *optional*):
            As in `create_task`.

    Returns:
        `(DataFrame, list[str])`: (M, F) texts with the columns of `rows.features`, and M ids.

    Raises:
        TaskError: there is no test table, it cannot be read, it lacks a feature, or its ids are not unique.
    """
    import pandas as pd

    folder = proposal.origin.path
    test, sample = unlabelled_tables(folder)
    if test is None:
        raise TaskError(
            f"{folder} has no test.csv: there are no rows to predict. Put the test file there, without its target."
        )
    frame = read_text_table(test, None, sep, encoding).frame.reset_index(drop=True)
    names = list(rows.features.columns)
    if missing := [name for name in names if name not in frame.columns]:
        raise TaskError(
            f"{test} lacks the column {missing[0]!r}, a feature of the train rows. Leave it out (`--drop`), or add it there."
        )
    raw = proposal.origin.frame.loc[rows.features.index, names]
    decimal, _ = decimal_mark(proposal.origin.frame, proposal.origin.separator, proposal.request.decimal)
    named = proposal.request.decimal is not None
    # Together, because the form of a column is decided from all its values.
    together = pd.concat([raw, frame[names]], ignore_index=True)
    read, _ = with_iso_dates(read_features(together, decimal, named)[0])
    alone, _ = with_iso_dates(read_features(frame[names], decimal, named)[0])
    count = len(raw)
    agree = {name: list(read[name].iloc[:count]) == list(rows.features[name]) for name in names}
    # Where the test rows change the decision, programs were written for what the train rows alone decided.
    features = pd.DataFrame(
        {name: (read[name].iloc[count:] if agree[name] else alone[name]).tolist() for name in names}
    )
    return features, _ids(proposal, test, frame, sample)


def _ids(proposal: Proposal, test: Path, frame: pd.DataFrame, sample: Path | None) -> list[str]:
    name = proposal.request.id_column or proposal.origin.id_column
    found = frame[name].str.strip().tolist() if name in frame.columns else None
    if found is None and sample is not None:
        form = read_text_table(sample, None, None, None).frame
        if name in form.columns and len(form) == len(frame):
            found = form[name].str.strip().tolist()
    if found is None:
        return [str(number) for number in range(len(frame))]
    twice, times = Counter(found).most_common(1)[0]
    if times > 1:
        raise TaskError(f"{test} holds the id {twice!r} more than once in column {name!r}; ids must be unique.")
    return found
