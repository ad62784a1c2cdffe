"""The parts of tasks create, by property: splits, leaks, rare classes, dates, kinds of columns."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.errors import TaskError
from trl_mle.tasks.create.column_kinds import ColumnKind, describe_column, has_id_name
from trl_mle.tasks.create.dates import FORMATS, read_dates
from trl_mle.tasks.create.guess_target import has_target_name
from trl_mle.tasks.create.leaks import find_leaks
from trl_mle.tasks.create.rare_classes import treat_rare
from trl_mle.tasks.create.row_splits import RowSplit

FEW = settings(max_examples=25, deadline=None)
LABELS = st.lists(st.sampled_from("abcde"), min_size=2, max_size=80)


def texts(values, name="x") -> pd.Series:
    return pd.Series([str(value) for value in values], name=name, index=range(2, len(values) + 2), dtype=str)


@FEW
@given(LABELS, st.data())
def test_no_group_is_in_both_parts(labels, data):
    groups = data.draw(st.lists(st.integers(0, 8), min_size=len(labels), max_size=len(labels)))
    share, seed = data.draw(st.floats(0.05, 0.95)), data.draw(st.integers(0, 99))
    split = RowSplit("group", "g")
    keys, target = split.keys(texts(groups, "g")), texts(labels, "y")
    if len(set(groups)) < 2:
        with pytest.raises(TaskError, match="1 different groups"):
            split.mask(keys, target, share, seed, False)
        return
    mask = split.mask(keys, target, share, seed, False)
    assert not set(keys[mask]) & set(keys[~mask]) and 0 < mask.sum() < len(mask)
    assert (mask == split.mask(keys, target, share, seed, False)).all()
    # No order of the groups can be nearer than the largest group is large.
    assert abs(mask.sum() - share * len(mask)) <= max(np.bincount(groups))


@FEW
@given(st.lists(st.integers(-50, 50), min_size=2, max_size=80), st.floats(0.05, 0.95))
def test_later_rows_are_test_rows(times, share):
    split = RowSplit("time", "t")
    keys = split.keys(texts(times, "t"))
    if len(set(times)) < 2:
        with pytest.raises(TaskError, match="1 different times"):
            split.mask(keys, keys, share, 0, True)
        return
    mask = split.mask(keys, keys, share, 0, True)
    assert max(np.asarray(times)[~mask]) < min(np.asarray(times)[mask])
    sizes = [sum(time >= cut for time in times) for cut in sorted(set(times))[1:]]
    assert abs(mask.sum() - share * len(times)) == min(abs(size - share * len(times)) for size in sizes)


def test_groups_keep_the_shares_of_classes():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 3000)
    target = texts((groups % 3 == 0).astype(int), "y")
    mask = RowSplit("group", "g").mask(texts(groups), target, 0.3, 1, False)
    assert abs(mask.mean() - 0.3) < 0.03 and abs((target[mask] == "1").mean() - (target == "1").mean()) < 0.05


@pytest.mark.parametrize("text", ["", "rows", "random:x", "group:", "group", "time: ", "Group:x", None, 3])
def test_a_split_of_another_form_is_named(text):
    with pytest.raises(TaskError, match=r"--split.*random, group:COLUMN or time:COLUMN"):
        RowSplit.parse(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2024-01-01", "soon"], "needs numbers, or dates in one form"),
        (["01/02/2024", "03/04/2024"], "may have the day or the month first"),
        (["2024-01-01", ""], "1 rows have no value"),
        (["2024-01-01", "NA"], "1 rows have no value"),
        (["2024-01-01", "?"], "1 rows have no value"),
        (["1", "-"], "1 rows have no value"),
    ],
)
def test_times_that_have_no_order_are_named(values, message):
    with pytest.raises(TaskError, match=message):
        RowSplit("time", "t").keys(texts(values, "t"))


def test_a_mark_is_the_name_of_a_group():
    assert list(RowSplit("group", "g").keys(texts(["?", "a", "?"], "g"))) == ["?", "a", "?"]


@pytest.mark.parametrize(
    ("written", "decimal"),
    [
        (["900", "1.500", "12.000"], ","),
        (["1,125", "1,250", "1,500"], ","),
        (["1.125", "1.25", "1.5"], "."),
        ([" 2024-01-31", "2024-02-01", " 2024-02-03"], None),
        (["2024-01-31", " 2024-02-01", "2024-02-03"], None),
    ],
)
def test_times_are_in_order_whatever_their_decimal_mark_and_spaces(written, decimal):
    keys = RowSplit("time", "t").keys(texts(written, "t"), decimal)
    assert keys.is_monotonic_increasing and keys.is_unique


@FEW
@given(
    st.lists(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)), min_size=3, max_size=12),
    st.sampled_from([form for form in FORMATS if "%y" not in form]),
)
def test_dates_become_the_same_dates(days, form):
    written = texts([day.replace(tzinfo=datetime.UTC if "%z" in form else None).strftime(form) for day in days])
    dates = read_dates(written)
    assert dates is not None
    if dates.ambiguous:
        # Each could be read the other way round.
        assert all(day.day <= 12 for day in days) and (dates.iso == written).all()
        return
    step = datetime.timedelta(microseconds=1) if "%f" in form else datetime.timedelta(seconds=1)
    step = datetime.timedelta(minutes=1) if "%M" in form and "%S" not in form else step
    step = datetime.timedelta(days=1) if "%M" not in form else step
    for day, text in zip(days, dates.iso, strict=True):
        assert abs(pd.Timestamp(text).tz_localize(None).to_pydatetime() - day) < step


@pytest.mark.parametrize(
    ("values", "iso"),
    [
        (["2024-01-02T10:00:00.000Z", "2024-01-01T10:00:00.500Z"], None),
        (["2024-01-02 10:00:00+01:00", "2024-01-01 10:00:00+01:00"], None),
        (["2024-10-27 02:30:00+02:00", "2024-10-27 02:00:00+01:00"], ["2024-10-27 00:30:00", "2024-10-27 01:00:00"]),
        (["01/31/2018 11:55:00 PM", "01/31/2018 12:05:00 AM"], ["2018-01-31 23:55:00", "2018-01-31 00:05:00"]),
    ],
)
def test_times_with_a_zone_or_half_days_have_an_order(values, iso):
    dates = read_dates(texts(values))
    assert dates is not None and dates.iso.tolist() == (iso or values) and dates.changed == (iso is not None)


@pytest.mark.parametrize(
    "values", [["1", "2"], ["2024-01-01", "1/2/2024"], ["May", "June"], ["2024-13-01"], ["", "NA"], ["12:30"]]
)
def test_what_is_no_column_of_dates(values):
    assert read_dates(texts(values)) is None


@FEW
@given(LABELS, st.integers(2, 20), st.sampled_from(["drop", "merge"]))
def test_rare_classes_are_left_out_or_merged_with_counts(labels, rows, option):
    values = texts(labels, "y")
    counts = values.value_counts()
    try:
        kept, notes = treat_rare(values, option, rows)
    except TaskError:
        assert (counts >= rows).sum() < 2
        return
    rare = counts[counts < rows]
    assert (bool(notes) == bool(len(rare)) and (kept.value_counts() >= rows).all()) or not len(rare)
    assert all(f"{label!r} ({count})" in notes[0] for label, count in list(rare.items())[:5])
    common = values[~values.isin(rare.index)]
    assert (kept[kept.index.isin(common.index)] == common).all()


def test_numbers_of_classes_may_be_merged_with_a_text():
    merged, _ = treat_rare(pd.Series([1] * 20 + [2] * 20 + [3] * 6 + [4] * 6, name="y"), "merge")
    assert merged.value_counts().to_dict() == {"1": 20, "2": 20, "other": 12}


@FEW
@given(st.lists(st.sampled_from("abc"), min_size=30, max_size=60), st.integers(0, 10**6))
def test_a_relabelled_target_is_a_leak_and_noise_is_none(labels, seed):
    target = texts(labels, "y")
    rng = np.random.default_rng(seed)
    features = pd.DataFrame(
        {
            "same": target,
            "coded": target.map({"a": "7", "b": "5", "c": "9"}),
            "row": [str(row) for row in range(len(labels))],
            "noise": [str(number) for number in rng.normal(size=len(labels))],
        }
    )
    found = {leak.column for leak in find_leaks(features, target, False)}
    assert found <= {"same", "coded"} and "same" in found and ("coded" in found) == (len(set(labels)) > 1)


@FEW
@given(st.lists(st.integers(-(10**6), 10**6), min_size=30, max_size=60, unique=True), st.booleans())
def test_a_function_in_the_order_of_the_target_is_a_leak(numbers, falling):
    target = texts(numbers, "y")
    sign = -1 if falling else 1
    features = pd.DataFrame(
        {
            "euro": [str(sign * (number * 0.9 + 3)) for number in numbers],
            "other": [str(number % 17) for number in numbers],
        },
        index=target.index,
    )
    assert [leak.column for leak in find_leaks(features, target, True)] == ["euro"]


@pytest.mark.parametrize(
    ("name", "is_id", "is_target"),
    [
        ("id", True, False),
        ("PassengerId", True, False),
        ("patient_id", True, False),
        ("ID", True, False),
        ("index", True, False),
        ("price_index", False, False),
        ("paid", False, False),
        ("humid", False, False),
        ("is_target", False, True),
        ("target_2", False, True),
        ("Label", False, True),
        ("labelled", False, False),
        ("Pclass", False, False),
        ("class", False, True),
        ("y", False, True),
    ],
)
def test_names_of_ids_and_of_targets(name, is_id, is_target):
    assert (has_id_name(name), has_target_name(name)) == (is_id, is_target)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["", "NA"], ColumnKind.EMPTY),
        (["a", "a", "a"], ColumnKind.CONSTANT),
        (["1", "2.0", "NA"], ColumnKind.WHOLE),
        (["1,5", "2,5"], ColumnKind.NUMBER),
        (["$1,000.00", "$2.00"], ColumnKind.NUMBER),
        (["2024-01-01", "2024-01-02"], ColumnKind.DATE),
        (["a", "b"], ColumnKind.CATEGORY),
        ([f"text {at}" for at in range(300)], ColumnKind.TEXT),
        ([str(10**400), "1"], ColumnKind.CATEGORY),
    ],
)
def test_kinds_of_columns(values, kind):
    assert describe_column(texts(values)).kind is kind
