"""Stages that need a train file, one target or ids say so, or leave the task out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trl_mle.demo.table import read_facts
from trl_mle.errors import TaskError
from trl_mle.experience.retrieval import facts_of, is_comparable, retrieve
from trl_mle.types import TaskSpec

TASK = TaskSpec("t", "T", "D", Path("nowhere"), "rmse", "minimize", "id", ("y",), "y")
WITHOUT = {
    "no train file": {"train_file": None},
    "a train file of another format": {"train_file": "train.parquet"},
    "no target": {"target_column": "", "target_columns": ()},
}


@pytest.mark.parametrize("changes", [*list(WITHOUT.values())[:2], {"test_file": None}, {"target_columns": ("y", "z")}])
def test_there_are_no_demonstrations(changes):
    with pytest.raises(
        TaskError, match="task 't': there are no demonstrations for it, only for tasks with one target"
    ):
        read_facts(replace(TASK, **changes))


@pytest.mark.parametrize("changes", WITHOUT.values(), ids=WITHOUT)
def test_retrieval_leaves_the_task_out(changes):
    fields = {key: value for key, value in vars(TASK).items() if key not in ("target_column", "target_columns")}
    task = TaskSpec(**({**fields, "target_column": "y"} | changes))
    assert not is_comparable(task)
    assert retrieve(None, task, {"other": TASK}) == []  # type: ignore[arg-type]  # the store is not asked
    with pytest.raises(TaskError, match="cannot be compared with other tasks: it has no CSV file with its targets"):
        facts_of(task)
