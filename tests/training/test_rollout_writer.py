"""Columns that reward functions log: whatever is in them, they are written, and read back."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from trl_mle.training.rollout_writer import RolloutWriter


def written(folder, values):
    path = RolloutWriter(folder).write_records([{"column": value} for value in values], step=0)
    return [None if value is None or value != value else value for value in pd.read_parquet(path)["column"]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, None], [1.0, 2.5, None]),
        ([None, None], [None, None]),
        ([1, "a", None], ["1", "a", None]),
        ([True, 2], ["true", "2"]),
        ([{"a": 1}, {"a": "x"}], ['{"a": 1}', '{"a": "x"}']),
        ([{}, {}, None], ["{}", "{}", None]),
        ([[{}], None], ["[{}]", None]),
        ([[1], 2], ["[1]", "2"]),
        ([2**70, 1], [str(2**70), "1"]),
        ([np.float64(0.5), np.int64(2)], [0.5, 2.0]),
        ([torch.tensor(1.5), Path("a")], ['"tensor(1.5000)"', '"a"']),
        ([{(1, 2): 3}, 1], ["{(1, 2): 3}", "1"]),
        (["\ud800", "b"], ["?", "b"]),
        ([date(2020, 1, 2), None], ['"2020-01-02"', None]),
        ([np.datetime64("2020-01-02"), np.float16(1)], ['"2020-01-02"', '"1.0"']),
        ([[{"content": "x"}], [{"content": [{"type": "text"}]}]], ['[{"content": "x"}]', '[{"content": [{"type": "text"}]}]']),
    ],
    ids=str,
)  # fmt: skip
def test_values_without_a_common_type_are_written_as_text(tmp_path, values, expected):
    assert written(tmp_path, values) == expected


def test_an_object_that_cannot_be_printed_ends_no_run(tmp_path):
    class Silent:
        def __repr__(self):
            raise KeyError("repr")

    assert written(tmp_path, [Silent(), 1]) == ["<Silent>", "1"]


def write(writer, *kinds_and_steps):
    return [writer.write_records([{"x": 1}], step=step, kind=kind).name for kind, step in kinds_and_steps]


def run(folder, *kinds_and_steps):
    writer = RolloutWriter(folder)
    writer.begin()
    return write(writer, *kinds_and_steps)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def asides(folder):
    return [names(path) for path in sorted(folder.parent.glob("rollouts-*"))]


EARLIER = [("eval", 0), ("train", 0), ("train", 1), ("train", 2), ("lost", 2), ("eval", 3)]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "rollouts"
    run(folder, *EARLIER)
    return folder


def test_an_evaluation_before_training_moves_the_earlier_run_once(folder, caplog):
    earlier = names(folder)
    writer = RolloutWriter(folder)
    own = write(writer, *[("eval", 0)] * 5)
    assert (names(folder), asides(folder)) == (own, [earlier])
    writer.begin()
    own += write(writer, ("eval", 0), ("train", 0), ("train", 1))
    assert (names(folder), asides(folder)) == (sorted(own), [earlier])
    assert len(caplog.records) == 1


def test_an_evaluation_after_training_belongs_to_the_run(folder):
    writer = RolloutWriter(folder)
    writer.begin()
    own = write(writer, ("train", 0), ("eval", 1), ("eval", 1))
    assert names(folder) == sorted(own)


def test_an_evaluation_before_a_run_is_resumed_does_not_take_its_beginning(folder):
    writer = RolloutWriter(folder)
    own = write(writer, ("eval", 0))
    writer.begin(2)
    own += write(writer, ("train", 2))
    assert names(folder) == sorted([*own, "train_000000_00.parquet", "train_000001_00.parquet"])
    assert asides(folder) == [
        [f"{name}_00.parquet" for name in ("eval_000000", "eval_000003", "lost_000002", "train_000002")]
    ]


def test_runs_of_one_trainer_have_a_folder_each(folder):
    writer = RolloutWriter(folder)
    for _ in range(2):
        writer.begin()
        write(writer, ("train", 0), ("eval", 2))
    assert names(folder) == ["eval_000002_00.parquet", "train_000000_00.parquet"]
    assert len(asides(folder)) == 2


def test_a_logged_column_replaces_none_of_the_writers(tmp_path):
    logs = {"prompt": ["p"], "completion": ["c"], "advantages": [0.5], "rewards": {"advantage": [2.0], "mine": [1.0]}}
    logs["extra"] = {"step": ["x"], "logged_step": ["w"], "prompt": ["y"], "mine": ["z"], "other": [3]}
    path = RolloutWriter(tmp_path).write(logs, rows=1, step=7, mode="train", extra_columns=set(logs["extra"]))
    (row,) = pd.read_parquet(path).to_dict("records")
    assert row == {
        "step": 7, "prompt": "p", "completion": "c", "advantage": 0.5, "mine": 1.0, "other": 3,
        "logged_step": "w", "logged_logged_step": "x", "logged_advantage": 2.0, "logged_prompt": "y", "logged_mine": "z",
    }  # fmt: skip
