"""Columns that no program can use are dropped with a reason, and tables too small are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tasks.generate.tables import houses, visits
from trl_mle.tasks.generate.columns import MIN_ROWS, clean_table
from trl_mle.tasks.generate.refusal import Refusal
from trl_mle.tasks.generate.targets import propose


def test_ids_constants_and_copies_are_dropped_by_name():
    clean = clean_table(houses(), seed=0)
    assert clean.dropped == {"house_id": "row number", "age_again": "equals column 'age'", "country": "constant"}
    assert clean.kinds == {
        "size": "number",
        "age": "number",
        "quality": "category",
        "listed": "date",
        "price_cents": "number",
        "price": "number",
    }


def test_free_text_and_entities_stay():
    kinds = clean_table(visits(), seed=0).kinds
    assert (kinds["note"], kinds["subject"]) == ("text", "category")


DAYS = pd.date_range("2023-01-01", periods=200)
NOISE = np.random.default_rng(0).normal(size=200)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y"])
def test_all_dates_of_a_column_have_one_form(form):
    clean = clean_table(pd.DataFrame({"day": DAYS.strftime(form), "y": NOISE}), seed=0)
    assert clean.kinds["day"] == "date" and list(clean.frame["day"]) == list(DAYS.strftime("%Y-%m-%d"))


@pytest.mark.parametrize(
    ("days", "kind"),
    [
        (["03/11/2023", "04/10/2023"], "category"),
        (["03/11/2023", "2023-04-25"], "category"),
        (["25/04/2023", "04/25/2023"], "category"),
        (["03/03/2023", "04/04/2023"], "date"),
    ],
)
def test_dates_that_may_have_the_month_first_stay_text(days, kind):
    clean = clean_table(pd.DataFrame({"day": days * 100, "y": NOISE}), seed=0)
    assert clean.kinds["day"] == kind
    assert list(clean.frame["day"]) == (days * 100 if kind == "category" else ["2023-03-03", "2023-04-04"] * 100)


@pytest.mark.parametrize("name", ["", " ", "id", "ID", "split", "\u200b", "a\nb", "{{target}}", "x" * 500])
def test_any_name_of_a_column_becomes_one_that_a_task_can_have(name):
    table = pd.DataFrame(
        {name: np.random.default_rng(0).normal(size=200), "y": np.random.default_rng(1).normal(size=200)}
    )
    (first, _) = clean_table(table, seed=0).frame.columns
    assert first.strip() and "\n" not in first and len(first) <= 110
    assert first.lower() not in ("id", "split")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (pd.DataFrame({"a": range(MIN_ROWS - 1), "b": 0.5}), "too few rows"),
        (pd.DataFrame(np.zeros((MIN_ROWS, 300))), "too many columns"),
        (pd.DataFrame({"a": range(MIN_ROWS), "b": "same"}), "too few columns"),
    ],
)
def test_tables_without_a_task_are_refused(table, reason):
    with pytest.raises(Refusal) as refusal:
        clean_table(table, seed=0)
    assert refusal.value.reason == reason


def test_targets_have_a_kind_and_a_metric_that_fits():
    proposals = {each.column: each for each in propose(clean_table(visits(), seed=0))}
    assert (proposals["cured"].kind, proposals["cured"].metric) == ("binary", "log_loss")
    assert "note" not in proposals and "subject" not in proposals
    assert {each.column: each.kind for each in propose(clean_table(houses(), seed=0))}["price"] == "regression"


def test_a_rare_class_is_scored_by_rank():
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    table = pd.DataFrame({"x": x, "fraud": np.where(x + rng.normal(0, 0.5, 600) > 1.5, "yes", "no")})
    assert [each.metric for each in propose(clean_table(table, seed=0)) if each.column == "fraud"] == ["roc_auc"]


def test_truth_values_are_categories():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    table = pd.DataFrame({"x": x, "flag": x + rng.normal(0, 0.5, 300) > 0, "y": x + rng.normal(0, 0.5, 300)})
    clean = clean_table(table, seed=0)
    assert clean.kinds["flag"] == "category" and set(clean.frame["flag"]) == {"True", "False"}
    assert {each.column for each in propose(clean)} == {"x", "flag", "y"}


def test_noise_is_no_target():
    rng = np.random.default_rng(0)
    assert propose(clean_table(pd.DataFrame(rng.normal(size=(300, 3)), columns=list("abc")), seed=0)) == []


cells = st.one_of(st.none(), st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.just("2020-01-31"))


@settings(max_examples=12, deadline=None)
@example([["a", "2020-01-31"], [0, 3.402871236869632e38]], 0)  # beyond 32 bits
@given(st.lists(st.lists(cells, min_size=1, max_size=6), min_size=1, max_size=5), st.integers(0, 99))
def test_any_cells_give_a_table_or_a_refusal(columns, seed):
    """Cells of each column are drawn again and again, so that there are enough rows."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {k: pd.Series([column[at] for at in rng.integers(0, len(column), 150)]) for k, column in enumerate(columns)}
    )
    try:
        clean = clean_table(table, seed)
    except Refusal:
        return
    assert set(clean.kinds) == set(clean.frame.columns)
    propose(clean)
