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
