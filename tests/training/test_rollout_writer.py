"""Columns that reward functions log: whatever is in them, they are written, and read back."""

from __future__ import annotations

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
        ([[{"content": "x"}], [{"content": [{"type": "text"}]}]], ['[{"content": "x"}]', '[{"content": [{"type": "text"}]}]']),
    ],
    ids=str,
)  # fmt: skip
def test_values_without_a_common_type_are_written_as_text(tmp_path, values, expected):
    assert written(tmp_path, values) == expected


def test_a_logged_column_replaces_none_of_the_writers(tmp_path):
    logs = {"prompt": ["p"], "completion": ["c"], "advantages": [0.5], "rewards": {"mine": [1.0]}}
    logs["extra"] = {"step": ["x"], "prompt": ["y"], "mine": ["z"], "other": [3]}
    path = RolloutWriter(tmp_path).write(logs, rows=1, step=7, mode="train", extra_columns=set(logs["extra"]))
    (row,) = pd.read_parquet(path).to_dict("records")
    assert row == {
        "step": 7, "prompt": "p", "completion": "c", "advantage": 0.5, "mine": 1.0, "other": 3,
        "logged_step": "x", "logged_prompt": "y", "logged_mine": "z",
    }  # fmt: skip
