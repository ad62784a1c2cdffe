"""The user's real test file: the full train table and the rows to predict, in the form that programs were written for.

A Kaggle folder has no answers for its test rows. The search therefore works on a task in which a part of the train rows is held
out. A program that is good there runs once more on the files that are made here, and what it writes is the submission.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN, AnswerKey
from trl_mle.grading.form import FormError, check_form, parse_csv
from trl_mle.tasks import Task
from trl_mle.tasks.cache import prepare_new
from trl_mle.tasks.create.proposal import Proposal
from trl_mle.tasks.create.tables import LabelledRows, read_rows
from trl_mle.tasks.create.test_rows import read_test_rows
from trl_mle.tasks.folder import PUBLIC_FILES
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RealTest:
    """The full train table and the user's test rows as the public files of a task without answers."""

    spec: TaskSpec
    """The task of the search with another folder. It cannot grade."""

    @cached_property
    def _key(self) -> AnswerKey | None:
        """Answers of the right form and of no meaning, which the check of a submission's form needs. `None` if there are too few
        rows for one of each kind."""
        import pandas as pd

        assert self.spec.train_path is not None
        tables = [
            pd.read_csv(path, dtype=str, keep_default_na=False)
            for path in (self.spec.train_path, self.spec.sample_path)
        ]
        train, sample = tables
        targets = list(self.spec.target_columns)
        distinct = train[targets].drop_duplicates(subset=targets[:1]).reset_index(drop=True)
        rows = distinct.iloc[[number % len(distinct) for number in range(len(sample))]].reset_index(drop=True)
        parts = ["public" if number % 2 else "private" for number in range(len(sample))]
        ids = {} if self.spec.id_column is None else {self.spec.id_column: sample[self.spec.id_column]}
        frame = pd.DataFrame({**ids, **{name: rows[name] for name in targets}, SPLIT_COLUMN: parts})
        try:
            return AnswerKey.from_frame(frame, self.spec)
        except TaskError:  # for example fewer test rows than classes
            return None

    def wrong_form(self, submission: bytes | None) -> str | None:
        """Why `submission` is no submission for the real test rows; `None` if its form is right."""
        if submission is None:
            return "no submission.csv was written for the real test file"
        try:
            rows = self.rows
            table = parse_csv(submission, rows)
            if self._key is not None:
                check_form(table, self._key, self.spec)
            elif sorted(table.header) != sorted(self.spec.submission_columns) or len(table.rows) != rows:
                return f"the submission needs {rows} rows and the columns {', '.join(self.spec.submission_columns)}"
        except FormError as error:
            return str(error)
        return None

    @cached_property
    def rows(self) -> int:
        """Number of rows to predict."""
        import pandas as pd

        return len(pd.read_csv(self.spec.sample_path, dtype=str, keep_default_na=False))


def prepare_real_test(
    proposal: Proposal, task: Task, folder: Path, seed: int = 0, sep: str | None = None, encoding: str | None = None
) -> RealTest:
    """Make `folder` from the user's files, unless it is there.

    Train rows are shuffled and get new ids, as in `task`. Test rows keep their order and their ids.

    Args:
        proposal ([`Proposal`]):
            What `task` was made of.
        task ([`Task`]):
            The task of the search.
        folder (`Path`):
            Gets `public/`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the shuffle.
        sep, encoding (`str`, *optional*):
            As in `create_task`.

    Raises:
        TaskError: the test file cannot be read, or lacks a feature.
    """
    spec = replace(_plain(task), folder=folder)
    if not folder.exists():
        rows = read_rows(proposal)
        features, ids = read_test_rows(proposal, rows, sep, encoding)
        tables = _tables(rows, task, features, ids, seed)

        def build(empty: Path) -> None:
            public = empty / "public"
            public.mkdir(mode=0o755)
            for name, frame in zip(PUBLIC_FILES, tables, strict=True):
                frame.to_csv(public / name, index=False)

        prepare_new(folder, build)
    return RealTest(spec)


def _plain(task: Task) -> TaskSpec:
    """The part of a task that is no secret of the host."""
    from dataclasses import fields

    return TaskSpec(**{field.name: getattr(task, field.name) for field in fields(TaskSpec)})


def _tables(
    rows: LabelledRows, task: Task, features: pd.DataFrame, ids: list[str], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Train table, test table and sample submission."""
    import numpy as np
    import pandas as pd

    assert task.id_column is not None
    order = np.random.default_rng(seed).permutation(len(rows.targets))
    train = pd.concat([rows.features, rows.targets], axis=1).iloc[order].reset_index(drop=True)
    train.insert(0, task.id_column, _new_ids(len(train), ids))
    test = features.copy()
    test.insert(0, task.id_column, ids)
    held_out = pd.read_csv(task.sample_path, dtype=str, keep_default_na=False)
    # Every row of a sample submission is the same.
    sample = pd.DataFrame({name: [held_out[name].iloc[0]] * len(test) for name in held_out.columns})
    sample[task.id_column] = ids
    return train, test, sample


def _new_ids(count: int, taken: Iterable[str]) -> list[int]:
    """`count` whole numbers that no test row has."""
    numbers = [int(id_) for id_ in taken if id_.strip().isdecimal()]
    start = max(numbers, default=-1) + 1
    return list(range(start, start + count))
