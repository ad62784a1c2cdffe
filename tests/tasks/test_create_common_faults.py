"""`create_task` on tables with the usual faults: each is a right task or a clear question."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trl_mle.errors import TaskError
from trl_mle.tasks import create_task
from trl_mle.tasks.create import Request, propose
from trl_mle.tasks.create.column_kinds import ColumnKind, describe_column
from trl_mle.tasks.create.dates import read_dates
from trl_mle.tasks.create.folders import read_folder
from trl_mle.tasks.create.image_files import find_images
from trl_mle.tasks.create.leaks import find_leaks
from trl_mle.tasks.create.row_splits import RowSplit, times

ROWS = 120
RNG = np.random.default_rng(0)


def table(folder: Path, **columns) -> Path:
    frame = pd.DataFrame({"x": RNG.normal(size=ROWS).round(3), "kind": ["a", "b", "c"] * (ROWS // 3), **columns})
    path = folder / "data.csv"
    frame.to_csv(path, index=False)
    return path


def asked(path: Path, **request) -> str:
    return " ".join(question.sentence() for question in propose(path, Request.of(**request)).questions)


TARGET = RNG.integers(0, 2, ROWS)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.dates(pd.Timestamp("1990-01-01").date(), pd.Timestamp("2040-01-01").date()), min_size=2, unique=True)
)
def test_dates_without_zeros_are_in_the_order_of_time(dates):
    texts = pd.Series([f"{date.year}-{date.month}-{date.day}" for date in dates], name="day")

    assert times(texts).argsort().tolist() == pd.Series(dates).argsort().tolist()


def test_padded_dates_stay_as_they_are():
    dates = read_dates(pd.Series(["2024-03-01 10:00", "2024-03-02 09:00"]))

    assert dates is not None and not dates.changed


@pytest.mark.parametrize("split", ["time:price", "group:price"])
def test_no_split_by_the_target(tmp_path, split):
    path = table(tmp_path, price=RNG.normal(size=ROWS))

    with pytest.raises(TaskError, match="give the answers away"):
        create_task(path, "price", "rmse", tmp_path / "task", split=split)


@pytest.mark.parametrize("kind", ["group", "time"])
@pytest.mark.parametrize("values", [3, 4, 7])
def test_the_second_part_can_be_divided_again(kind, values):
    keys, target = pd.Series(np.arange(200) * values // 200).astype(str), pd.Series(np.arange(200) % 2)
    split = RowSplit(kind, "column")

    mask = split.mask(keys, target, 0.05, 0, numeric=False, least=2)

    assert keys[mask].nunique() >= 2 and keys[~mask].nunique() >= 1
    assert not set(keys[mask]) & set(keys[~mask])


def test_times_with_a_decimal_comma_decide_which_rows_are_test_rows(tmp_path):
    hours = 10 * np.random.default_rng(1).permutation(ROWS) + 450
    path = table(tmp_path, hour=[f"{hour:,}".replace(",", ".") for hour in hours], sold=RNG.integers(0, 99, ROWS))

    task = create_task(path, "sold", "rmse", tmp_path / "task", split="time:hour", decimal=",")

    train, test = (pd.read_csv(task.public_dir / f"{part}.csv")["hour"] for part in ("train", "test"))
    assert train.max() < test.min() and test.max() == hours.max()


def test_too_few_groups_are_named():
    keys, target = pd.Series(["a", "b"] * 20), pd.Series([0, 1] * 20)

    with pytest.raises(TaskError, match="2 different groups, and train, public and private rows need at least 3"):
        RowSplit("group", "store").mask(keys, target, 0.3, 0, numeric=False, least=2)


def test_one_number_is_one_group():
    keys = RowSplit("group", "store").keys(pd.Series(["1", "1.0", " 1", "2", "b"], name="store"))

    assert keys.nunique() == 3


def test_presence_is_no_constant():
    column = describe_column(pd.Series(["yes", "", "yes", ""], name="garage"))

    assert column.kind is ColumnKind.CATEGORY


def test_a_target_of_signs_has_two_classes(tmp_path):
    proposal = propose(table(tmp_path, label=["+", "-", "-", "+"] * (ROWS // 4)), Request.of())

    assert proposal.questions == () and (proposal.request.targets, proposal.request.metric) == (("label",), "roc_auc")
    assert describe_column(pd.Series(["1", "?", "1"], name="count")).missing == 1


@pytest.mark.parametrize("form", ["{}", "{}.00"])
def test_amounts_that_differ_in_each_row_may_be_the_target(tmp_path, form):
    salaries = [form.format(37_000 + 91 * number**2) for number in range(ROWS)]

    assert propose(table(tmp_path, Salary=salaries), Request.of()).request.targets == ("Salary",)
    assert "Salary" not in asked(table(tmp_path, Salary=[form.format(7 * number) for number in range(ROWS)]))


def test_a_number_with_a_unit_below_the_header_is_no_class(tmp_path):
    path = table(tmp_path, price=["usd", *(str(number % 37) for number in range(ROWS - 1))])

    assert "Column 'price' cannot be predicted as it is" in asked(path) and "because 'usd'" in asked(path)
    with pytest.raises(TaskError, match=r"'price' seems to hold numbers, but 'usd'.*--metric accuracy"):
        propose(path, Request.of("price"))
    children = table(tmp_path, target=["0", "1", "2", "3+"] * (ROWS // 4))
    assert propose(children, Request.of()).request.metric == "accuracy"


@pytest.mark.parametrize(("keep", "metric"), [(False, "roc_auc"), (True, "accuracy")])
def test_words_for_missing_values_are_no_class_of_the_metric(tmp_path, keep, metric):
    path = table(tmp_path, label=["yes", "no", "NA", "no"] * (ROWS // 4))

    proposal = propose(path, Request.of(drop_missing_targets=not keep, keep_missing_words=keep))

    assert (proposal.request.metric, proposal.questions) == (metric, ())


def test_ids_with_gaps_are_left_out(tmp_path):
    path = table(tmp_path, id=[*range(ROWS - 2), None, None], target=TARGET)

    assert propose(path, Request.of()).left_out == {"id": "the row ids; rows get new ones"}


def test_repeating_ids_are_asked_about_and_named(tmp_path):
    path = table(tmp_path, ID=[*range(ROWS - 5), *range(5)], target=TARGET)

    assert "`--drop ID` (leave the column out)" in asked(path)
    (note,) = propose(path, Request.of(split="random")).notes
    assert "'ID' has a name of ids, repeats, and stays a feature" in note


@pytest.mark.parametrize(
    "column",
    [
        {"date": np.repeat(pd.date_range("2024-01-01", periods=ROWS // 3).strftime("%Y-%m-%d"), 3)},
        {"date": pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d")[::-1]},
        {"timestamp": 1_700_000_000 + 3600 * np.arange(ROWS)},
    ],
    ids=["several rows per day", "newest first", "seconds"],
)
def test_rows_over_time_are_asked_about(tmp_path, column):
    path = table(tmp_path, **column, target=TARGET)

    flag = f"--split time:{next(iter(column))}"
    assert flag in asked(path)
    # What would be a question is a note, where target and metric are named.
    assert any(flag in note for note in propose(path, Request.of("target", "accuracy")).notes)


@pytest.mark.parametrize("values", [[f"1,{i}" for i in range(100, 220)], ["inf", *map(str, range(119))]])
def test_a_target_that_is_no_number_is_named(tmp_path, values):
    path = table(tmp_path, target=values, rating=RNG.normal(size=ROWS))

    assert "Column 'target' cannot be predicted as it is" in asked(path)


def test_a_row_of_sums_is_named(tmp_path):
    path = table(tmp_path, price=RNG.normal(size=ROWS))
    path.write_text(path.read_text() + "Total,,12.5\n")

    assert any("'x' is taken for text, because 'Total'" in note for note in propose(path, Request.of()).notes)


def test_classes_that_differ_in_capitals_are_named(tmp_path):
    path = table(tmp_path, churn=["Yes", "no", "yes"] * (ROWS // 3))

    assert any("differ in capital letters alone" in note for note in propose(path, Request.of()).notes)
    path = table(tmp_path, churn=["True", "false", "true"] * (ROWS // 3))
    assert propose(path, Request.of()).notes == ()


def test_a_file_without_header_is_named(tmp_path):
    path = tmp_path / "data.csv"
    pd.DataFrame(RNG.normal(size=(ROWS, 3)).round(2)).to_csv(path, index=False, header=False)

    assert "If the first line is data" in asked(path)


def test_numbers_of_questions(tmp_path):
    one = asked(table(tmp_path, target=["r"] * 3 + ["p", "q", "p"] * 39))
    assert "1 class of 'target' has fewer than 10 rows" in one and "--rare merge" not in one
    assert "1 of 120 rows has no value" in asked(table(tmp_path, price=[None, *RNG.normal(size=ROWS - 1)]))
    assert "`--keep-missing-words` ('None' is a class)" in asked(table(tmp_path, target=["None", "p", "q"] * 40))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("rounded", ["feature", "target"])
def test_rounded_copies_give_the_target_away(sign, rounded):
    values = pd.Series(RNG.normal(size=ROWS))
    exact, coarse = (0.9 * sign * values).map(str), values.round(1).map(str)
    feature, target = (coarse, exact) if rounded == "feature" else (exact, coarse)
    noisy = (values + RNG.normal(size=ROWS) / 10).map(str)

    leaks = find_leaks(pd.DataFrame({"copy": feature, "noisy": noisy}), target, numeric=True)

    assert [leak.column for leak in leaks] == ["copy"]


@pytest.mark.parametrize("missing", ["", "NA", "?"])
@pytest.mark.parametrize("places", [(3, None), (None, 5), (3, 5)])
def test_a_missing_value_hides_no_number_that_gives_the_target_away(missing, places):
    price = pd.Series(np.random.default_rng(1).gamma(2, 100, ROWS))
    target, logarithm = price.map(str), np.log(price).map(str)
    for texts, place in zip((logarithm, target), places, strict=True):
        if place is not None:
            texts[place] = missing

    (leak,) = find_leaks(pd.DataFrame({"log": logarithm}), target, numeric=True)

    assert leak.reason == "orders the rows exactly as the target does"


@pytest.mark.parametrize("missing", ["", "NA", "-"])
def test_a_missing_value_hides_no_code_of_the_class(missing):
    target = pd.Series(["yes", "no", "maybe"] * 40)
    code = target.map({"yes": "1", "no": "2", "maybe": "3"})
    code[[7, 8]] = missing  # of two classes

    (leak,) = find_leaks(pd.DataFrame({"code": code}), target, numeric=False)

    assert leak.reason == "has one value for each value of the target"


@pytest.mark.parametrize(("label", "keep", "leaks"), [("None", False, 1), ("None", True, 0), ("?", False, 0)])
def test_words_that_are_classes_are_compared(label, keep, leaks):
    target = pd.Series([label, "p", "q"] * 40)
    code = target.map({"p": "1", "q": "2"}).fillna(pd.Series(["1", "2"] * 60))

    assert len(find_leaks(pd.DataFrame({"code": code}), target, numeric=False, keep_missing_words=keep)) == leaks


def test_a_few_present_values_give_nothing_away_by_chance():
    code, target = pd.Series([""] * 78 + ["a"] * 20 + ["b"] * 2), pd.Series(["1"] + ["0"] * 97 + ["1"] * 2)

    assert find_leaks(pd.DataFrame({"code": code}), target, numeric=False) == []


def test_drop_and_keep_contradict():
    with pytest.raises(TaskError, match="write one of the two"):
        Request.of(drop=["x"], keep=["x"])


def test_the_sample_submission_is_the_one_of_its_name(tmp_path):
    table(tmp_path, id=range(ROWS), target=TARGET).rename(tmp_path / "train.csv")
    (tmp_path / "my_submission.csv").write_text("id,target\n1,0\n2,1\n")
    (tmp_path / "sample_submission.csv").write_text("id,target\n1,0.5\n2,0.5\n")

    assert read_folder(tmp_path, (), None, None).metric == "roc_auc"
    (tmp_path / "sample_submission.csv").rename(tmp_path / "other_submission.csv")
    with pytest.raises(TaskError, match="several submissions"):
        read_folder(tmp_path, (), None, None)


def test_images_named_by_an_id(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for number in range(30):
        image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    pd.DataFrame({"id": range(30), "breed": ["u", "v"] * 15}).to_csv(tmp_path / "labels.csv", index=False)

    task = create_task(tmp_path, out=tmp_path.parent / f"{tmp_path.name}-task")

    assert (task.target_columns, task.id_column) == (("breed",), "id")
    assert (task.public_dir / "train.csv").read_text().startswith("id,image,breed\n0,train/0.png,")


def test_names_of_images_that_are_no_text(tmp_path):
    try:
        (tmp_path / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system holds UTF-8 alone")
    with pytest.raises(TaskError, match="not UTF-8"):
        find_images(tmp_path)
