"""Form checks against a sample submission, and verdicts on what an evaluator did: no sandbox."""

import io
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.errors import GradingError
from trl_mle.grading.form import FormError
from trl_mle.grading.script import Evaluation, SampleForm, read_score, write_rows

SAMPLE = "id,price,kind,note\na1,0.5,red,\na2,0.5,red,x\n"


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample_submission.csv"
    path.write_text(SAMPLE)
    return path


def test_rows_and_columns_come_in_the_order_of_the_sample(sample):
    rows = SampleForm.of(sample, "id").check(b"kind,note, id ,price\nblue,,a2,2\nred,y, a1,1e3\n")
    assert rows == [["a1", "1000.0", "red", "y"], ["a2", "2", "blue", ""]]


def test_ids_that_are_numbers_are_compared_by_value_and_get_the_sample_spelling(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("id,y\n10,0\n11,0\n")
    assert SampleForm.of(path, "id").check(b"id,y\n11.0,1\n10.0,2\n") == [["10", "2"], ["11", "1"]]


def test_whole_numbers_stay_whole_where_the_sample_has_no_others(tmp_path):
    """An index of a list, such as that of a table of grades, is no float: whole ones become indices, fractions are named."""
    path = tmp_path / "s.csv"
    path.write_text("id,grade,price\na,0,0.5\nb,1,0.5\n")
    form = SampleForm.of(path, "id")
    rows = form.check(b"id,grade,price\na,3.0,1.0\nb,-2,2.0\n")
    assert rows == [["a", "3", "1.0"], ["b", "-2", "2.0"]] and form.unlike_sample(rows) is None
    rows = form.check(b"id,grade,price\na,3.0,1.0\nb,2.5,2.0\n")
    assert rows[0] == ["a", "3.0", "1.0"] and "'grade' has the number 2.5" in str(form.unlike_sample(rows))


def test_texts_and_numbers_far_from_the_sample_can_cost_an_evaluator_any_time(tmp_path):
    """Such as `numpy.bincount`, which makes a list up to the largest number."""
    path = tmp_path / "s.csv"
    path.write_text("id,count,price\na,0,5e4\nb,1,5e4\n")
    form = SampleForm.of(path, "id")
    for count, price, named in (
        ("1e6", "-5e7", None),
        ("1e12", 1, "the number 1000000000000"),
        (1, "-5.1e7", "-51000"),
    ):
        found = form.costly(form.check(f"id,count,price\na,{count},{price}\nb,0,0\n".encode()))
        assert (found is None) == (named is None) and str(named or "") in str(found)
    path.write_text(SAMPLE)
    assert "'kind'" in str(SampleForm.of(path, "id").costly([["a1", "1", "r", ""]]))


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**30), 10**30))
@settings(max_examples=50, deadline=None)
def test_numbers_of_any_spelling_are_numbers_for_pandas(tmp_path_factory, number, integer):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(SAMPLE)
    rows = SampleForm.of(path, "id").check(
        f"id,price,kind,note\na1,{number:+.400f},r,\na2,{integer:031d},r,\n".encode()
    )
    read = pd.read_csv(io.BytesIO(write_rows(("id", "price", "kind", "note"), rows)), float_precision="round_trip")
    assert read["price"].tolist() == [float(f"{number:.400f}"), float(integer)]


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        (("1", "2.5"), "column 'kind' has no text"),
        (("True", "False"), "column 'kind' has no text"),
        (("red", "NA"), "'NA' in column 'kind' is a missing value"),
        (("red", "1"), None),
    ],
)
def test_a_column_that_is_no_text_for_pandas_is_named(sample, kinds, reason):
    form = SampleForm.of(sample, "id")
    first, second = kinds
    found = form.unlike_sample(form.check(f"id,price,kind,note\na1,1,{first},\na2,1,{second},\n".encode()))
    assert (found is None) == (reason is None) and str(reason or "") in str(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,price,kind\na1,1,r\na2,1,r\n", "expected 'id', 'price', 'kind', 'note'"),
        ("id,price,kind,note\na1,1,r,\n", "1 rows; expected 2"),
        ("id,price,kind,note\na1,1,r,\na1,1,r,\n", "id 'a1' occurs again in line 3"),
        ("id,price,kind,note\na1,1,r,\na3,1,r,\n", "no row for the id 'a2'"),
        ("id,price,kind,note\na1,1,r,\na2,nan,r,\n", "'nan' in column 'price', line 3 is not a finite number"),
        ("id,price,kind,note\na1,1,r,\na2,1_0,r,\n", "'1_0' in column 'price'"),
        ("id,price,kind,note\na1,1,r,\na2,\u0661,r,\n", "'\u0661' in column 'price'"),
        ("id,price,kind,note\na1,1,r,\na2,,r,\n", "missing value in column 'price', line 3"),
        ("id,price,kind,note\na1,1,,\na2,1,r,\n", "missing value in column 'kind', line 2"),
        ("id,price,kind,note\na1,1,r,\na2,1,r,\na2,1,r,\n", "more than 2 rows"),
        ("", "empty"),
        ("x" * 200_000, "more than"),
    ],
)
def test_a_wrong_form_is_named(sample, text, message):
    with pytest.raises(FormError, match=message):
        SampleForm.of(sample, "id").check(text.encode())


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_bytes_are_refused_or_give_rows(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    if not path.exists():
        path.write_text(SAMPLE)
    for form in (SampleForm.of(path, "id"), SampleForm.of(path, None)):
        try:
            rows = form.check(data)
        except FormError:
            continue
        assert len(rows) == 2 and all(len(row) == 4 for row in rows)


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=9), min_size=2, max_size=2)
    )
)
@settings(max_examples=50, deadline=None)
def test_written_rows_are_read_back(rows):
    import csv
    import io

    assert list(csv.reader(io.StringIO(write_rows(("a", "b"), rows).decode(), newline="")))[1:] == rows


def said(**printed) -> Evaluation:
    return Evaluation(0, json.dumps(printed), "")


def test_a_score_comes_with_direction_and_thresholds():
    score = read_score(said(score="1.5", is_lower_better="true", gold_threshold=1, median_threshold=None))
    assert (score.score, score.lower_is_better, score.thresholds) == (1.5, True, {"gold": 1.0})


def test_a_score_below_warnings_counts_unless_the_submission_can_have_written_it():
    warned = Evaluation(0, 'Warning: clipped\n{"score": 2}\n', "")
    assert read_score(warned).score == 2.0
    assert read_score(Evaluation(0, 'Warning: clipped\n{\n  "score": 2,\n  "thresholds": {}\n}\n', "")).score == 2.0
    forged = Evaluation(0, 'unknown label x\n{"score": 2}', "")
    with pytest.raises(FormError, match="no JSON object"):
        read_score(forged, may_quote=True)


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (said(score=None, error="bad label"), "not a finite number: bad label"),
        (said(score=float("nan")), "nan, not a finite"),
        (said(score=float("inf")), "inf, not a finite"),
        (Evaluation(1, '{"error": "bad ids"}', ""), "refuses the submission: bad ids"),
        (Evaluation(2, "", "usage"), "refuses the submission: usage"),
        (Evaluation(1, "", "no", ("Strange", "Exception"), raised=True), "Strange: no"),
        (Evaluation(1, "", "x < 0", ("ValueError", "Exception")), "ValueError: x < 0"),
        (Evaluation(1, "", "'q'", ("KeyError", "LookupError", "Exception")), "KeyError"),
        (Evaluation(0, '{"error": "labels from 0 to 3"}', ""), "no `score`: labels from 0 to 3"),
        (Evaluation(0, '{"accuracy": 1}', ""), 'no `score` but {"accuracy": 1}'),
        (Evaluation(0, "Error: bad labels", ""), "no JSON object but 'Error: bad labels'"),
        (Evaluation(0, "", ""), "no JSON object"),
        (Evaluation(0, "[1]", ""), "no JSON object"),
        (Evaluation(0, "[" * 100_000, ""), "no JSON object"),
    ],
)
def test_what_the_evaluator_refuses_is_the_policys_fault(evaluation, message):
    with pytest.raises(FormError, match=message):
        read_score(evaluation)


@pytest.mark.parametrize(
    "evaluation",
    [
        Evaluation(0, '{"score": 0.5}\ndone', ""),
        Evaluation(1, "", "x", ("TypeError", "Exception")),
        Evaluation(1, "", "x", ("ModuleNotFoundError", "ImportError", "Exception")),
        Evaluation(1, "", "x", ("PermissionError", "OSError", "Exception")),
    ],
)
def test_a_broken_evaluator_is_a_grading_error(evaluation):
    with pytest.raises(GradingError):
        read_score(evaluation)
