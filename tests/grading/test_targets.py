"""Several targets, texts, clipped R2, and rows without ids."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_absolute_error, r2_score, roc_auc_score, root_mean_squared_log_error

from trl_mle.errors import TaskError
from trl_mle.grading import METRICS, AnswerKey, form, get_metric, grade_submission
from trl_mle.grading.csv_rows import next_row
from trl_mle.grading.form import size_limit
from trl_mle.types import TaskSpec

SPLITS = ["public", "private"] * 4


def spec_of(metric: str, *targets: str, id_column: str | None = "id") -> TaskSpec:
    direction = METRICS[metric].direction
    return TaskSpec(
        "t", "t", "t", Path("."), metric, direction, id_column, tuple(reversed(targets)), target_columns=targets
    )


def answers_of(**columns: list) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    return frame.assign(id=range(10, 10 + len(frame)), split=SPLITS[: len(frame)])


def csv_of(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


@pytest.mark.parametrize(
    ("metric", "function"), [("rmsle", root_mean_squared_log_error), ("mae", mean_absolute_error)]
)
def test_the_score_of_several_numbers_is_the_mean_of_their_scores(metric, function):
    answers = answers_of(a=[1.0, 2, 3, 4, 5, 6, 7, 8], b=[80.0, 70, 60, 50, 40, 30, 20, 10])
    guess = answers[["b", "a", "id"]].assign(a=3.0, b=33.0).iloc[::-1]
    grade = grade_submission(csv_of(guess), answers, spec_of(metric, "a", "b"), "all")
    expected = np.mean([function(answers[name], np.full(8, value)) for name, value in (("a", 3.0), ("b", 33.0))])
    assert grade.score == pytest.approx(expected, rel=1e-12)
    # The columns are told apart by their names.
    swapped = guess.rename(columns={"a": "b", "b": "a"})
    assert grade_submission(csv_of(swapped), answers, spec_of(metric, "a", "b"), "all").score != grade.score


@pytest.mark.parametrize(("metric", "function"), [("log_loss", log_loss), ("roc_auc", roc_auc_score)])
def test_several_targets_of_zeros_and_ones_are_probabilities_each(metric, function):
    answers = answers_of(a=[0, 0, 1, 1, 0, 0, 1, 1], b=[1, 1, 1, 1, 0, 0, 0, 0])
    guess = answers[["id"]].assign(a=np.linspace(0.9, 0.1, 8), b=np.linspace(0.8, 0.3, 8))
    grade = grade_submission(csv_of(guess), answers, spec_of(metric, "a", "b"), "all")
    assert grade.score == pytest.approx(np.mean([function(answers[name], guess[name]) for name in "ab"]), rel=1e-12)
    # No row is divided by its sum: the targets do not exclude each other.
    ones = guess.assign(a=1.0, b=1.0)
    assert grade_submission(csv_of(ones), answers, spec_of(metric, "a", "b"), "all").valid
    bad = grade_submission(csv_of(guess.assign(b=1.5)), answers, spec_of(metric, "a", "b"))
    assert bad.reason == "'1.5' in column 'b', line 2 is not a probability between 0 and 1"


def test_labels_of_several_targets_have_classes_of_their_own():
    answers = answers_of(a=["x", "y"] * 4, b=["1", "2"] * 4)
    spec = spec_of("accuracy", "a", "b")
    guess = answers[["id", "a", "b"]]
    assert grade_submission(csv_of(guess), answers, spec, "all").score == 1.0
    assert grade_submission(csv_of(guess.assign(b="1")), answers, spec, "all").score == 0.75
    assert "is not an integer label such as 1" in str(
        grade_submission(csv_of(guess.assign(b="x")), answers, spec).reason
    )
    assert "missing column 'b'" in str(grade_submission(csv_of(guess[["id", "a"]]), answers, spec).reason)


def test_wrong_answers_of_one_of_several_targets_are_named():
    wrong = answers_of(a=[0, 1] * 4, b=[0, 2] * 4)
    with pytest.raises(TaskError, match=r"the one prediction column 'b'.*with several targets, each must be 0 or 1"):
        AnswerKey.from_frame(wrong, spec_of("log_loss", "a", "b"))
    constant = answers_of(a=[0, 0, 1, 1] * 2, b=[0, 1, 0, 1] * 2)
    with pytest.raises(TaskError, match=r"the public part .* no row of class '1' in column 'b'"):
        AnswerKey.from_frame(constant, spec_of("roc_auc", "a", "b"))
    with pytest.raises(TaskError, match="has no column 'b'"):
        AnswerKey.from_frame(answers_of(a=[1, 2]), spec_of("rmse", "a", "b"))


TEXTS = st.lists(st.text(st.sampled_from("aA bé\u00a0ß"), max_size=12), min_size=2, max_size=8)


def test_jaccard_of_known_texts():
    answers = answers_of(text=["Very good indeed", "I don't care", "bad", ""])
    guess = answers[["id"]].assign(text=["very GOOD very", "i care", "worse", ""])
    grade = grade_submission(csv_of(guess), answers, spec_of("jaccard", "text"), "all")
    assert grade.score == pytest.approx((2 / 3 + 2 / 3 + 0 + 1) / 4, rel=1e-12)


@given(
    pairs=st.lists(st.tuples(st.text(st.sampled_from("aA bé\u00a0ß"), max_size=12), st.text(max_size=8)), min_size=1)
)
@settings(max_examples=100, deadline=None)
def test_jaccard_lies_between_0_and_1_is_symmetric_and_1_for_equal_texts(pairs):
    true, guess = (np.array(texts, dtype=object) for texts in zip(*pairs, strict=True))
    jaccard = get_metric("jaccard")
    assert 0.0 <= jaccard.score(true, guess) <= 1.0
    assert jaccard.score(true, guess) == pytest.approx(jaccard.score(guess, true))
    assert jaccard.score(true, true) == 1.0


@given(texts=TEXTS)
@settings(max_examples=50, deadline=None)
def test_texts_pass_through_csv_as_they_are(texts):
    answers = answers_of(text=texts)
    assert grade_submission(csv_of(answers[["id", "text"]]), answers, spec_of("jaccard", "text"), "all").score == 1.0


def test_hostile_texts_cost_no_more_than_the_size_limit():
    answers = answers_of(text=["one two three"] * 8)
    spec = spec_of("jaccard", "text")
    limit = size_limit(AnswerKey.from_frame(answers, spec), spec)
    assert limit < 100_000
    rows = "".join(f"{number},{'w ' * 50_000}\n" for number in range(10, 18))
    assert f"more than {limit}" in str(grade_submission(f"id,text\n{rows}".encode(), answers, spec).reason)
    wide = b"id,text" + b",x" * 20_000 + b"\n"
    assert "columns; expected 'id', 'text'" in str(grade_submission(wide, answers, spec).reason)
    assert "NUL byte in line 2" in str(grade_submission(b"id,text\n10,a\0b\n", answers, spec).reason)


def test_honest_texts_fit_even_if_they_are_long():
    answers = answers_of(text=["word " * 30_000] * 8)
    guess = answers[["id"]].assign(text="other " * 30_000)
    assert grade_submission(csv_of(guess), answers, spec_of("jaccard", "text")).score == 0.0


def test_only_a_table_with_a_long_cell_pays_for_it(monkeypatch):
    """The limit of `csv` belongs to the process. It is lifted for one row at a time, which costs more than the row."""
    lifted = []
    monkeypatch.setattr(form, "next_row", lambda reader: lifted.append(1) or next_row(reader))
    assert form.parse_csv(b"id,text\n1,a\n2,b\n", 2).rows == [["1", "a"], ["2", "b"]]
    assert not lifted
    assert form.parse_csv(b"id,text\n1,a\n2," + b"b" * 200_000, 2).lines == [2, 3]
    assert lifted


def test_clipped_r2_is_that_of_dare_bench():
    y = [1.0, 2, 3, 4, 5, 6, 7, 9]
    answers, spec = answers_of(y=y), spec_of("r2_clipped", "y")
    good = np.array(y) + [0.5, -0.5] * 4
    for guess, expected in ((good, r2_score(y, good)), (-np.array(y), 0.0), (y, 1.0)):
        grade = grade_submission(csv_of(answers[["id"]].assign(y=guess)), answers, spec, "all")
        assert grade.score == pytest.approx(expected, rel=1e-12)
    constant = answers_of(y=[2.0] * 8)
    assert grade_submission(csv_of(constant[["id", "y"]]), constant, spec, "all").score == 1.0
    assert grade_submission(csv_of(constant[["id"]].assign(y=3.0)), constant, spec, "all").score == 0.0


def test_rows_without_ids_are_matched_by_their_order():
    answers = answers_of(a=[1.0, 2, 3, 4], b=[10.0, 20, 30, 40]).drop(columns="id")
    spec = spec_of("mae", "a", "b", id_column=None)
    assert grade_submission(csv_of(answers[["a", "b"]]), answers, spec, "all").score == 0.0
    assert grade_submission(csv_of(answers[["b", "a"]].iloc[::-1]), answers, spec, "all").score == 11.0
    short = grade_submission(csv_of(answers[["a", "b"]].head(3)), answers, spec)
    assert short.reason == "the submission has 3 rows, not 4; write one for each row to predict, in its order"
    assert "more than 4 rows" in str(
        grade_submission(csv_of(pd.concat([answers[["a", "b"]]] * 2)), answers, spec).reason
    )
    extra = grade_submission(csv_of(answers[["a", "b"]].assign(id=1)), answers, spec)
    assert "unexpected column 'id'" in str(extra.reason)
