"""Ids and labels are compared by value where all of them are numbers, and two different ones are never taken for each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.grading.answers import AnswerKey
from trl_mle.grading.form import FormError, check_form, parse_csv
from trl_mle.grading.values import Kind, canonical, kind_of
from trl_mle.types import TaskSpec


def graded(ids, labels, submission, metric="accuracy", columns=("y",)):
    parts = ["public", "private"] * len(ids)
    answers = pd.DataFrame({"id": ids, "y": labels, "split": parts[: len(ids)]}, dtype=str)
    task = make_spec(metric, columns)
    key = AnswerKey.from_frame(answers, task)
    return check_form(parse_csv(submission.encode(), 100), key, task)[0], key


def make_spec(metric, columns):
    return TaskSpec(
        id="t", title="t", description="t", folder=Path("t"), metric=metric, direction="maximize", id_column="id",
        prediction_columns=tuple(columns), target_column="y",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "written"),
    [
        (["140", "7"], ["140.0", "7.0"]),
        (["140", "7"], ["1.4e2", "+7"]),
        (["007", "140"], ["7", "140"]),
        (["1.50", "2"], ["1.5", "2.0"]),
        (["9007199254740993", "1"], ["9007199254740993", "1"]),
        (["a", "NA"], ["a", "NA"]),
        (["None", "b"], ["None", " b "]),
        (["7", "07"], ["7", "07"]),
        (["True", "False"], ["True", "False"]),
    ],
)
def test_ids_match_by_value(ids, written):
    predictions, _ = graded(ids, ["1", "0"], "id,y\n" + "".join(f"{id_},{n}\n" for n, id_ in enumerate(written)))
    assert list(predictions) == [0, 1]


@pytest.mark.parametrize(
    ("ids", "written", "message"),
    [
        (["140", "7"], "140.5", "unknown id '140.5'"),
        (["140", "7"], "1_40", "unknown id"),
        (["140", "7"], "nan", "unknown id"),
        (["140", "7"], "", "an empty id"),
        (["9007199254740992", "1"], "9007199254740992.0", "unknown id"),
        (["007", "x"], "7", "unknown id"),
        (["140", "7"], "9" * 1000, "unknown id"),
        (["140", "7"], "1e999999999", "unknown id"),
    ],
)
def test_what_is_not_the_value_is_another_id(ids, written, message):
    with pytest.raises(FormError, match=message):
        graded(ids, ["1", "0"], f"id,y\n{ids[1]},1\n{written},0\n")


def test_ids_of_many_digits_stay_different():
    ids = ["0.1234567890123456789012345678901", "0.1234567890123456789012345678902"]
    predictions, _ = graded(ids, ["1", "0"], "id,y\n" + "".join(f"{id_}0,{n}\n" for n, id_ in enumerate(ids)))
    assert list(predictions) == [0, 1]


@pytest.mark.parametrize(("metric", "expected"), [("accuracy", [1, 0]), ("log_loss", [[0.0, 1.0], [1.0, 0.0]])])
@pytest.mark.parametrize("written", ["True,False", "true,FALSE", " True ,False"])
def test_truth_values_are_1_and_0(metric, expected, written):
    true, false = written.split(",")
    predictions, _ = graded(["a", "b"], ["1", "0"], f"id,y\na,{true}\nb,{false}\n", metric)
    assert predictions.tolist() == expected


def test_truth_values_are_no_numbers_elsewhere():
    for labels, metric in ((["1", "2"], "accuracy"), (["1.5", "2"], "rmse")):
        with pytest.raises(FormError, match="'True' in column 'y', line 2 is not"):
            graded(["a", "b"], labels, "id,y\na,True\nb,False\n", metric)


def test_one_id_in_two_spellings_is_twice():
    with pytest.raises(FormError, match="occurs again"):
        graded(["140", "7"], ["1", "0"], "id,y\n140,1\n140.0,1\n")


@pytest.mark.parametrize(
    ("labels", "written"),
    [
        (["1", "0"], ["1.0", "0"]),
        (["1.5", "3"], ["1.50", "3.0"]),
        (["True", "False"], ["true", "0"]),
        (["yes", "no"], ["yes ", " no"]),
        (["01", "02"], ["1", "2"]),
        (["1", "1.0"], ["1", "1"]),
        (["None", "NA"], ["None", "NA"]),
    ],
)
def test_labels_match_by_value(labels, written):
    predictions, key = graded(["a", "b"], labels, f"id,y\na,{written[0]}\nb,{written[1]}\n")
    assert (predictions == key.targets[0].truth).all()


@pytest.mark.parametrize(
    ("columns", "header"),
    [(["1", "2"], "id,1.0,2.0"), (["1", "2"], " id, 2 ,1"), (["a, b", "c"], 'id,"a, b",c'), ([" a", "a"], "id, a,a")],
)
def test_names_of_columns_match(columns, header):
    labels = [columns[0], columns[1]]
    if " a" in columns:
        labels = columns
    text = f"{header}\nx,0.5,0.5\ny,0.5,0.5\n"
    predictions, _ = graded(["x", "y"], labels, text, "log_loss", columns)
    assert predictions.shape == (2, 2)


@given(st.floats(-1e-6, 1e-6), st.floats(0, 1))
def test_rounding_does_not_void_a_probability(error, value):
    for number in (value + error, 0.0 + min(error, 0), 1.0 + max(error, 0)):
        predictions, _ = graded(["x", "y"], ["1", "0"], f"id,y\nx,{number!r}\ny,0.5\n", "log_loss")
        assert 0.0 <= predictions[0, 1] <= 1.0
        assert abs(predictions[0, 1] - number) <= 1e-6


@pytest.mark.parametrize("number", [-0.001, 1.001, 2, -1, "nan", "inf"])
def test_what_is_more_than_rounding_is_named(number):
    with pytest.raises(FormError, match="column 'y', line 2"):
        graded(["x", "y"], ["1", "0"], f"id,y\nx,{number}\ny,0.5\n", "log_loss")


def test_sums_of_single_precision_numbers_are_probabilities():
    thirds = [np.nextafter(1.0, 2.0), "-1e-17"]
    predictions, _ = graded(
        ["x", "y"], ["b", "c"], f"id,b,c\nx,{thirds[0]},{thirds[1]}\ny,0.3333,0.3333\n", "log_loss", "bc"
    )
    assert np.allclose(predictions, [[1, 0], [0.5, 0.5]])


@given(st.lists(st.one_of(st.integers(), st.text(max_size=4), st.floats(), st.decimals()).map(str), max_size=5))
def test_different_ids_stay_different(texts):
    texts = list(dict.fromkeys(text.strip() for text in texts))
    kind = kind_of(texts)
    forms = [canonical(text, kind) for text in texts if text]
    assert len(set(forms)) == len(forms)
    assert kind is not Kind.TRUTH_VALUE or len(forms) <= 4


@pytest.mark.parametrize(
    ("columns", "header"),
    [
        (["TRUE", "FALSE"], "True,False"),
        ([" a", "b "], "a,b"),
        ([" 1", "2"], "1.0, 2 "),
        (["false", "true"], "FALSE,True"),
    ],
)
def test_classes_are_found_as_pandas_writes_them(columns, header):
    predictions, key = graded(["u", "v"], columns, f"id,{header}\nu,1,0\nv,0,1\n", "log_loss", columns)
    assert predictions.tolist() == [[1, 0], [0, 1]] and key.targets[0].truth.tolist() == [0, 1]
