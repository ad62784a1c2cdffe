"""Rows and tables that are the same, or nearly."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tasks.generate.tables import houses, visits
from trl_mle.tasks.generate.columns import clean_table
from trl_mle.tasks.generate.disguise import disguise
from trl_mle.tasks.generate.duplicates import alike, fingerprint, relate


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31))
def test_a_copy_is_found_whatever_its_order_and_its_names(seed):
    table = houses()
    rng = np.random.default_rng(seed)
    copy = table.iloc[rng.permutation(len(table))][rng.permutation(table.columns)]
    copy.columns = [f"v{k}" for k in range(copy.shape[1])]
    relations = relate(
        [("first", fingerprint(table)), ("second", fingerprint(copy)), ("third", fingerprint(visits()))]
    )
    assert relations["second"].copy_of == "first" and relations["second"].family == "first"
    assert relations["third"].copy_of is None and relations["third"].family == "third"


def test_tables_with_the_same_columns_are_a_family_but_no_copies():
    relations = relate([("a", fingerprint(houses(seed=0))), ("b", fingerprint(houses(seed=5)))])
    assert relations["b"].family == "a" and relations["b"].copy_of is None


def test_equal_rows_are_alike_up_to_rounding():
    rows = pd.DataFrame(
        {"x": [1.0, 1.00001, 1.1, np.nan, np.nan, 0.0, -0.0], "t": ["a", "A ", "a", "a", None, "b", "b"]}
    )
    first, second, third, fourth, fifth, zero, negative = alike(rows)
    assert first == second and zero == negative
    assert len({first, third, fourth, fifth, zero}) == 5


def test_a_disguised_table_is_no_multiple_of_the_original():
    clean = clean_table(houses()[["size", "age", "quality", "price"]], seed=0)
    hidden = disguise(clean, "price", numeric=True, seed=0)
    assert list(hidden.frame.columns) == ["f0", "f1", "f2", "price"]
    # Row by row, no column is one of the original any more, in no unit.
    for name in hidden.frame.columns.drop("price"):
        for old in clean.frame.select_dtypes("number").columns if hidden.kinds[name] == "number" else ():
            ratio = (hidden.frame[name] / clean.frame[old]).replace([np.inf, -np.inf], np.nan).dropna()
            assert ratio.std() > 0.01 * abs(ratio.mean())
    assert abs(hidden.frame["price"].corr(clean.frame["price"])) > 0.99
