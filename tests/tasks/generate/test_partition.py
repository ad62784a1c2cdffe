"""No entity and no twin on both sides, and no test row before a train row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.generate.tables import houses, visits
from trl_mle.tasks.generate.columns import clean_table
from trl_mle.tasks.generate.duplicates import alike
from trl_mle.tasks.generate.partition import split
from trl_mle.tasks.generate.refusal import Refusal


def parts_of(table: pd.DataFrame, target: str, numeric: bool, seed: int = 0):
    clean = clean_table(table, seed=0)
    equal = alike(clean.frame.drop(columns=target))
    partition = split(clean, target, numeric, equal, seed)
    assert not (partition.is_public & ~partition.is_test).any()
    names = np.where(~partition.is_test, "train", np.where(partition.is_public, "public", "private"))
    return clean.frame.assign(part=names, alike=equal.to_numpy()), partition


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**30))
def test_an_entity_is_in_one_part_only(seed):
    frame, partition = parts_of(visits(), "cured", numeric=False, seed=seed)
    assert (partition.kind, partition.column) == ("group", "subject")
    assert (frame.groupby("subject")["part"].nunique() == 1).all()
    assert 0.25 < partition.is_test.mean() < 0.75


def test_test_rows_are_the_latest_if_there_is_a_date():
    frame, partition = parts_of(houses(), "price", numeric=True)
    assert (partition.kind, partition.column) == ("time", "listed")
    assert frame.loc[frame["part"] == "train", "listed"].max() < frame.loc[frame["part"] != "train", "listed"].min()
    assert (frame.groupby("listed")["part"].nunique() == 1).all()


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**30), st.integers(60, 120))
def test_twins_are_in_one_part_only(seed, distinct):
    table = houses(rows=distinct)[["size", "age", "quality", "price"]].sample(300, replace=True, random_state=seed)
    frame, partition = parts_of(table.reset_index(drop=True), "price", numeric=True, seed=seed)
    assert partition.kind == "random"
    assert (frame.groupby("alike")["part"].nunique() == 1).all()


def test_parts_that_are_too_small_are_refused():
    table = visits(rows=130)
    table["subject"] = np.where(np.arange(130) < 100, "one", [f"s{k % 14}" for k in range(130)])
    with pytest.raises(Refusal, match=r"too few rows|a class is missing"):
        for seed in range(20):  # the large subject is in each part once
            parts_of(table, "cured", numeric=False, seed=seed)
