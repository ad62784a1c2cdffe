"""The rollouts of a run are one table for pandas and for `datasets`, whatever the first batches held."""

from __future__ import annotations

from datetime import date

import datasets
import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from trl_mle.training.rollout_writer import RolloutWriter

PLAIN = [
    st.integers(-5, 2**60), st.floats(allow_nan=False), st.booleans(), st.text(max_size=3),
    st.lists(st.text(max_size=2), max_size=2), st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
]  # fmt: skip
ODD = [
    st.integers(), st.binary(max_size=2), st.dates(), st.datetimes(), st.timedeltas(), st.decimals(allow_nan=False),
    st.complex_numbers(),
    st.sampled_from([np.float16(1), np.uint64(2**63), np.datetime64("2020-01-01"), np.str_("a"), np.arange(3), np.ones((2, 2))]),
    st.just(object()), st.frozensets(st.integers(), max_size=2), st.text(st.characters(categories=["Cs"]), max_size=2),
    st.dictionaries(st.text(max_size=2) | st.integers(), st.dates() | st.none() | st.integers(), max_size=2),
    st.recursive(st.none() | st.integers() | st.dates(), lambda inner: st.lists(inner, max_size=2), max_leaves=9),
]  # fmt: skip
VALUES = st.none() | st.one_of(PLAIN)
BATCHES = st.sampled_from([*PLAIN, *ODD, st.one_of(ODD)]).flatmap(
    lambda kind: st.lists(st.none() | kind, min_size=1, max_size=3)
)
"""Columns of one batch: most have one type, which is another one in the next batch."""


def as_written(folder, batches, kinds=("train",)):
    writer = RolloutWriter(folder)
    for step, batch in enumerate(batches):
        writer.write_records(batch, step=step, kind=kinds[step % len(kinds)])
    return pd.read_parquet(folder)


@settings(max_examples=30, deadline=None)
@given(batches=st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=4))
def test_any_values_make_one_table(tmp_path_factory, batches):
    folder = tmp_path_factory.mktemp("rollouts")
    table = as_written(folder, [[{"x": value, "step": 1} for value in batch] for batch in batches])
    assert len(table) == sum(map(len, batches))
    missing = [value is None for batch in batches for value in batch]
    assert list(table["x"].isna()) == missing, "no value is lost"


@settings(max_examples=50, deadline=None)
@given(batches=st.lists(BATCHES, min_size=1, max_size=4))
def test_whatever_a_reward_function_logs_is_written(tmp_path_factory, batches):
    """In an order of types that no reward function has."""
    folder = tmp_path_factory.mktemp("rollouts")
    assert len(as_written(folder, [[{"x": value} for value in batch] for batch in batches])) == sum(map(len, batches))


def test_dates_of_an_earlier_version_become_text_with_the_first_number(tmp_path):
    dates = [date(2020, 1, 2), None]
    pd.DataFrame({"x": dates, "y": [[day] for day in dates]}).to_parquet(tmp_path / "train_000000_00.parquet")
    far = pyarrow.table({"x": pyarrow.array([[2**62]], pyarrow.list_(pyarrow.timestamp("ms")))})
    parquet.write_table(far, tmp_path / "train_000001_00.parquet")
    writer = RolloutWriter(tmp_path)
    writer.begin(2)
    writer.write_records([{"x": 1, "y": 2}], step=2, kind="train")
    table = pd.read_parquet(tmp_path)
    assert table["x"][0] == "2020-01-02"
    assert table["x"][2].startswith("<list<"), "a time that Python does not have"
    assert list(table["y"][[0, 3]]) == ['["2020-01-02"]', "2"]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([[{"x": None}], [{"x": 1.5}]], [None, 1.5]),
        ([[{"x": 1}], [{"x": None}], [{"x": 1.5}]], [1.0, None, 1.5]),
        ([[{"x": 1}], [{"x": "a"}]], ["1", "a"]),
        ([[{"x": []}], [{"x": ["a"]}]], [[], ["a"]]),
        ([[{"x": ["a"]}], [{"x": 1}]], ['["a"]', "1"]),
        ([[{"y": 1}], [{"x": 2, "y": 1}]], [None, 2]),
        ([[{"x": date(2020, 1, 2)}], [{"x": 1}]], ['"2020-01-02"', "1"]),
        ([[{"x": np.arange(2)}], [{"x": [0.5]}]], [[0.0, 1.0], [0.5]]),
        ([[{"x": 2**60 + 1}], [{"x": 0.5}]], [float(2**60 + 1), 0.5]),
    ],
    ids=str,
)
def test_both_readers_get_the_same_values(tmp_path, batches, expected):
    def plain(value):
        if hasattr(value, "tolist"):
            value = value.tolist()
        return None if value is None or value != value else value

    table = as_written(tmp_path / "rollouts", batches)
    assert [plain(value) for value in table["x"]] == expected
    loaded = datasets.load_dataset("parquet", data_dir=str(tmp_path / "rollouts"), cache_dir=str(tmp_path / "cache"))
    assert [plain(value) for value in loaded["train"]["x"]] == expected


def test_evaluation_and_lost_completions_fit_the_same_table(tmp_path):
    batches = [[{"x": None, "step": step}] for step in range(2)] + [
        [{"x": 0.5, "step": 2, "lost_because": "too stale"}]
    ]
    table = as_written(tmp_path, batches, kinds=("train", "eval", "lost"))
    assert sorted(table["step"]) == [0, 1, 2]
    assert set(table["lost_because"].dropna()) == {"too stale"}


def test_a_resumed_run_keeps_to_the_schema_of_its_files(tmp_path):
    """Also if the file that readers take the schema from is dropped, or comes from an earlier version."""
    pd.DataFrame({"x": [None]}).to_parquet(tmp_path / "train_000000_00.parquet")
    pd.DataFrame({"x": [1.5]}).to_parquet(tmp_path / "train_000001_00.parquet")
    (tmp_path / "train_000002_00.parquet").write_bytes(b"PAR1 cut off")
    pd.DataFrame({"x": ["a note"], "mine": [1]}).to_parquet(tmp_path / "notes.parquet")
    notes = (tmp_path / "notes.parquet").read_bytes()
    writer = RolloutWriter(tmp_path)
    writer.begin(2)
    writer.write_records([{"x": None}], step=2, kind="train")
    assert (tmp_path / "notes.parquet").read_bytes() == notes, "a file of the user is no rollout"
    (tmp_path / "notes.parquet").unlink()
    assert parquet.read_schema(tmp_path / "train_000000_00.parquet").names == ["x"]
    assert [value if value == value else None for value in pd.read_parquet(tmp_path)["x"]] == [None, 1.5, None]
