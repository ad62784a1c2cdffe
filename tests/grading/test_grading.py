"""grade_submission: form checks, and the boundary between the policy's fault and the grader's."""

import os
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.errors import GradingError, TaskError
from trl_mle.grading import AnswerKey, Metric, form, get_metric, grade_submission
from trl_mle.grading import metrics as metrics_module
from trl_mle.grading.form import FormError, Table, parse_csv
from trl_mle.types import Grade, TaskSpec


def spec_of(metric: str, columns: tuple[str, ...], target: str = "y") -> TaskSpec:
    direction = get_metric(metric).direction
    return TaskSpec("t", "t", "t", Path("."), metric, direction, "id", columns, target)


def answers_of(values: list) -> pd.DataFrame:
    parts = ["public", "private"] * (len(values) // 2)
    return pd.DataFrame({"id": range(10, 10 + len(values)), "y": values, "split": parts})


NUMBER = (spec_of("rmse", ("y",)), answers_of([1.5, 2.0, -3.0, 4.0, 5.0, 6.0]))
LOG_NUMBER = (spec_of("rmsle", ("y",)), answers_of([1.5, 2.0, 3.0, 4.0, 5.0, 6.0]))
LABEL = (spec_of("accuracy", ("y",)), answers_of([3, 1, 1, 3, 2, 2]))
TEXT_LABEL = (spec_of("f1_macro", ("y",)), answers_of(["ox", "cow", "cow", "ox", "ox", "cow"]))
CLASSES = (spec_of("log_loss", ("a", "b", "c")), answers_of(["a", "b", "c", "c", "b", "a"]))
BINARY = (spec_of("roc_auc", ("y",)), answers_of([0, 1, 1, 0, 1, 0]))
KINDS = {
    "number": NUMBER,
    "log_number": LOG_NUMBER,
    "label": LABEL,
    "text_label": TEXT_LABEL,
    "classes": CLASSES,
    "binary": BINARY,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def perfect(kind: str) -> pd.DataFrame:
    spec, answers = KINDS[kind]
    if kind == "classes":
        frame = pd.DataFrame({name: (answers["y"] == name) * 0.7 + 0.1 for name in spec.prediction_columns})
        frame.insert(0, "id", answers["id"])
        return frame
    return answers[["id", "y"]]


def as_csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def grade(kind: str, data: bytes, split: str = "public") -> Grade:
    spec, answers = KINDS[kind]
    return grade_submission(data, answers, spec, split)


@every_kind
@pytest.mark.parametrize("split", ["public", "private", "all"])
def test_a_right_submission_is_valid(kind, split):
    result = grade(kind, as_csv(perfect(kind)), split)
    assert result.valid
    assert result.reason is None
    expected = -np.log(0.8) if kind == "classes" else get_metric(KINDS[kind][0].metric).best
    assert result.score == pytest.approx(expected, abs=1e-9)


def test_each_split_counts_its_own_rows():
    _, answers = NUMBER
    frame = perfect("number").copy()
    frame.loc[answers["split"] == "private", "y"] += 2.0
    assert grade("number", as_csv(frame), "public").score == 0.0
    assert grade("number", as_csv(frame), "private").score == pytest.approx(2.0)
    assert grade("number", as_csv(frame), "all").score == pytest.approx(np.sqrt(2.0))


@every_kind
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_and_columns_is_free(kind, seed):
    frame = perfect(kind)
    if kind == "number":
        frame = frame.assign(y=frame["y"] + range(len(frame)))
    shuffled = frame.sample(frac=1, random_state=seed).sample(frac=1, axis=1, random_state=seed)
    assert grade(kind, as_csv(shuffled)) == grade(kind, as_csv(frame))


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("number", b"", "empty"),
        ("number", b"\n\n", "empty"),
        ("number", b"id\n10\n", "missing column 'y'; found 'id'"),
        ("number", b",id,y\n0,10,1\n", "unexpected column ''.*index=False"),
        ("number", b"id,y,y\n10,1,1\n", "'y' occurs 2 times"),
        ("number", b"id,y\n10,1\n", "5 of 6 rows are missing, for example id '11'"),
        ("number", b"id,y\n10,1\n10,1\n", "id '10' occurs again in line 3"),
        ("number", b"id,y\n99,1\n", "unknown id '99' in column 'id', line 2"),
        ("number", b"id,y\n,1\n", "an empty id"),
        ("number", b"id,y\n10,1,2\n", "line 2 has 3 cells, but the header has 2"),
        ("number", b"id,y\n10\n", "line 2 has 1 cells"),
        ("number", b"id,y\n10,\xff\n", "not UTF-8: byte 0xff in line 2"),
        ("number", b"id,y\n10,1\x00\n", "NUL byte in line 2"),
        ("number", b'id,y\n10,"1\n', "line 2 is not CSV"),
        ("number", b'id,y\n10,"' + b"1" * 200_000 + b'"\n', "more than|field larger"),
        ("number", b"id,y\n" + b"".join(b"%d,1\n" % i for i in range(10, 17)), "more than 6 rows"),
        ("number", b"id,y\n10,,\n", "3 cells"),
        ("number", "id,y\r\n10,ü\r\n".encode("utf-16"), "UTF-8|NUL"),
    ],
)
def test_malformed_files_are_named(kind, data, message):
    result = grade(kind, data)
    assert result == Grade(None, False, result.reason)
    assert re.search(message, result.reason), result.reason


@pytest.mark.parametrize(
    ("kind", "column", "value", "message"),
    [
        ("number", "y", "", "missing value in column 'y', line 3"),
        ("number", "y", "nan", "'nan' in column 'y', line 3 is not a finite number"),
        ("number", "y", "-inf", "'-inf' in column 'y', line 3 is not a finite"),
        ("number", "y", "1e999", "'1e999' .* not a finite"),
        ("number", "y", "abc", "'abc' in column 'y', line 3 is not a number"),
        ("number", "y", "1_0", "not a number"),
        ("log_number", "y", "-0.5", "'-0.5' .* below 0, the least that rmsle takes"),
        ("label", "y", "ox", "'ox' .* not an integer label"),
        ("label", "y", "1.5", "not an integer label"),
        ("label", "y", "", "missing value"),
        ("text_label", "y", " ", "missing value"),
        ("classes", "b", "1.2", "'1.2' in column 'b', line 3 is not a probability"),
        ("classes", "b", "-0.1", "not a probability"),
        ("binary", "y", "7", "not a probability"),
    ],
)
def test_a_bad_cell_is_named_with_column_line_and_value(kind, column, value, message):
    frame = perfect(kind).astype(str)
    frame.loc[1, column] = value
    result = grade(kind, as_csv(frame))
    assert not result.valid
    assert re.search(message, result.reason), result.reason


def test_a_row_of_zero_probabilities_is_named():
    frame = perfect("classes")
    frame.loc[2, ["a", "b", "c"]] = 0.0
    assert "line 4 have the sum 0" in grade("classes", as_csv(frame)).reason


def test_rows_of_probabilities_are_divided_by_their_sum():
    frame = perfect("classes")
    halved = frame.assign(**{name: frame[name] / 2 for name in "abc"})
    assert grade("classes", as_csv(halved)).score == pytest.approx(grade("classes", as_csv(frame)).score)


def test_integer_labels_may_be_written_as_floats_and_an_unknown_label_is_only_wrong():
    frame = perfect("label").assign(y=lambda table: table["y"].astype(float))
    assert grade("label", as_csv(frame), "all").score == 1.0
    frame.loc[0, "y"] = 77.0
    assert grade("label", as_csv(frame), "all") == Grade(pytest.approx(5 / 6), True)


def test_an_overflowing_score_is_invalid():
    frame = perfect("number").assign(y=1e300)
    result = grade("number", as_csv(frame))
    assert result == Grade(None, False, result.reason)
    assert "inf" in result.reason


def test_a_byte_order_mark_and_windows_lines_are_fine():
    text = as_csv(perfect("number")).decode().replace("\n", "\r\n")
    assert grade("number", text.encode("utf-8-sig")).score == 0.0


def test_reasons_stay_short_whatever_the_submission_holds():
    header = ",".join(f"{'x' * 100}{i}" for i in range(50))
    assert len(grade("number", f"{header}\n".encode()).reason) < 600
    assert len(grade("number", f"id,y\n10,{'z' * 3000}\n".encode()).reason) < 300


def test_a_file_past_the_size_limit_is_refused_without_being_parsed():
    spec, answers = NUMBER
    data = as_csv(perfect("number"))
    assert "more than 10" in grade_submission(data, answers, spec, max_bytes=10).reason
    assert "2000 columns" in grade("number", b"," * 1999).reason
    # The limit also follows from the task: 6 rows of 2 columns need no megabytes.
    assert not grade("number", b"," * 4_000_000).valid


# -- hostile submissions ------------------------------------------------------------------------------------------


def check_never_raises(kind: str, data: bytes) -> None:
    result = grade(kind, data)
    if result.valid:
        assert result.reason is None
        assert np.isfinite(result.score)
    else:
        assert result.score is None
        assert result.reason


@every_kind
@given(
    data=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
)
@settings(max_examples=60, deadline=None)
def test_any_bytes_give_a_grade(kind, data):
    check_never_raises(kind, data)


@every_kind
@given(seed=st.integers(0, 10**9), edits=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_any_mangled_submission_gives_a_grade(kind, seed, edits):
    rng = random.Random(seed)
    data = bytearray(as_csv(perfect(kind)))
    for _ in range(edits):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.randrange(8))
        data[start:end] = rng.choice(
            [
                b"",
                b",",
                b"\n",
                b'"',
                b"\x00",
                b"nan",
                b"inf",
                b"1e308",
                b"-",
                b"\xff",
                b"id",
                b"9" * 400,
                b"0x1",
                b"\r",
            ]
        )
    check_never_raises(kind, bytes(data))


cells = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers().map(str),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12),
)


@every_kind
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_cells_give_a_grade(kind, data):
    frame = perfect(kind).astype(object)
    for column in frame.columns[1:]:
        frame[column] = data.draw(st.lists(cells, min_size=len(frame), max_size=len(frame)))
    check_never_raises(kind, frame.to_csv(index=False).encode())


# -- files --------------------------------------------------------------------------------------------------------


def test_paths_of_all_kinds(tmp_path):
    spec, answers = NUMBER
    good = tmp_path / "submission.csv"
    good.write_bytes(as_csv(perfect("number")))
    assert grade_submission(good, answers, spec).score == 0.0
    link = tmp_path / "link.csv"
    link.symlink_to(good)
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path, message in (
        (tmp_path / "none.csv", "there is no file none.csv"),
        (link, "symbolic link"),
        (pipe, "not a regular file"),
        (tmp_path, "not a regular file"),
    ):
        result = grade_submission(path, answers, spec)
        assert message in result.reason
        assert not result.valid
    sparse = tmp_path / "sparse.csv"
    with sparse.open("wb") as file:
        file.truncate(10**12)
    assert "more than" in grade_submission(sparse, answers, spec).reason


# -- the boundary -------------------------------------------------------------------------------------------------


def test_a_bug_of_the_metric_is_a_grading_error(monkeypatch):
    def broken(y_true, y_pred, n_classes):
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(metrics_module.METRICS, "rmse", Metric("rmse", "minimize", "number", broken, best=0.0))
    with pytest.raises(GradingError, match="ZeroDivisionError: a bug"):
        grade("number", as_csv(perfect("number")))


def test_a_crash_of_the_parser_is_the_submissions_fault(monkeypatch):
    from trl_mle.grading import grader

    def broken(*args):
        raise RecursionError("too deep")

    monkeypatch.setattr(grader, "parse_csv", broken)
    result = grade("number", as_csv(perfect("number")))
    assert result == Grade(None, False, "the submission cannot be read as CSV: RecursionError: too deep")


@pytest.mark.parametrize("error", [MemoryError, ImportError, OSError])
def test_what_the_machine_lacks_is_our_fault(monkeypatch, error):
    from trl_mle.grading import grader

    def broken(*args):
        raise error

    monkeypatch.setattr(grader, "parse_csv", broken)
    with pytest.raises(GradingError):
        grade("number", as_csv(perfect("number")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="split"), "no column 'split'"),
        (lambda table: table.assign(y="x"), "finite numbers"),
        (lambda table: table.assign(id=1), "more than once"),
        (lambda table: table.assign(split="public"), "no row with split = 'private'"),
        (lambda table: table.iloc[:0], "no rows"),
    ],
)
def test_broken_answers_are_a_grading_error(change, message):
    spec, answers = NUMBER
    with pytest.raises(GradingError, match=message):
        grade_submission(as_csv(perfect("number")), change(answers), spec)


def test_an_unknown_split_is_the_callers_fault():
    with pytest.raises(TaskError, match="'test'"):
        grade("number", as_csv(perfect("number")), "test")


def test_a_class_that_a_split_lacks_makes_roc_auc_undefined():
    spec, answers = BINARY
    with pytest.raises(GradingError, match=r"public part .* no row of class '1'"):
        grade_submission(as_csv(perfect("binary")), answers.assign(y=[0, 1, 0, 0, 0, 1]), spec)


def test_a_part_with_one_value_makes_r2_undefined():
    """As a bad score, it would be the fault of every submission."""
    spec, answers = spec_of("r2", ("y",)), answers_of([1.0, 5.0, 1.0, 2.0, 1.0, 3.0])
    with pytest.raises(GradingError, match=r"the public part .* holds 1 alone in column 'y'"):
        grade_submission(as_csv(answers[["id", "y"]]), answers, spec)


def test_answers_are_read_anew_when_the_file_changes(tmp_path):
    spec, answers = NUMBER
    path = tmp_path / "answers.csv"
    answers.to_csv(path, index=False)
    data = as_csv(perfect("number"))
    assert grade_submission(data, path, spec).score == 0.0
    answers.assign(y=answers["y"] + 1.25).to_csv(path, index=False)
    assert grade_submission(data, path, spec).score == pytest.approx(1.25)
    with pytest.raises(GradingError, match="no column 'z'"):
        grade_submission(data, path, replace(spec, target_column="z"))


def test_empty_lines_are_bounded():
    assert len(parse_csv(b"id,y\n" + b"\n" * 900 + b"1,2\n", 5).rows) == 1
    with pytest.raises(FormError, match="more than 1005 empty lines"):
        parse_csv(b"id,y\n" + b"\r" * 5000, 5)


@pytest.mark.parametrize("metric", ["roc_auc", "rmse", "rmsle"])
def test_the_fast_way_to_numbers_is_the_careful_one(metric):
    cells = [
        " 0.5",
        "1e-1",
        "+1",
        ".5",
        "-0.0",
        "0",
        "1",
        "1.0000005",
        "-5e-7",
        "1e-400",
        "2",
        "-3",
        "1_0",
        "nan",
        "1e400",
        "",
        "x",
        "True",
    ]
    answers = pd.DataFrame({"id": ["a", "b"], "y": ["0", "1"], "split": ["public", "private"]})
    # Each part would need each class for the score itself, which is not asked for here.
    key = replace(AnswerKey.from_frame(answers, spec_of("rmse", ("y",))), metric=get_metric(metric))
    for cell in cells:
        table = Table(["id", "y"], [["a", cell]], [2])
        fast = form._plain_numbers(table, [0], [1], key)
        try:
            careful = form._number(table, 0, 1, key)
        except FormError:
            careful = None
        if fast is not None:
            assert fast.tolist() == [[careful]], cell
        else:
            assert careful is None or cell == "True", cell
