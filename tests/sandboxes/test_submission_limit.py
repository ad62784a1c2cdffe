"""An honest submission fits into the limits of the sandbox and of the grader, however large its task is."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.grading import AnswerKey, get_metric
from trl_mle.grading.answers import TargetAnswers
from trl_mle.grading.form import MAX_SUBMISSION_BYTES, size_limit
from trl_mle.grading.values import Kind
from trl_mle.sandboxes.base import default_limits, submission_size
from trl_mle.types import Limits, TaskSpec


def key_of(ids, classes=()) -> AnswerKey:
    target = TargetAnswers("y", np.zeros(0), classes, Kind.TEXT)
    return AnswerKey(get_metric("accuracy"), tuple(ids), Kind.TEXT, {}, (target,), np.zeros(0))


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
NUMBERS = st.floats() | st.just(-2.2250738585072014e-308)


def written(header: list[str], rows: list[list]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    return text.getvalue().encode()


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(TEXTS, min_size=1, max_size=30), columns=st.integers(1, 4), data=st.data())
def test_a_submission_in_full_fits(tmp_path_factory, ids, columns, data):
    names = [f"p{number}" for number in range(columns)]
    sample = tmp_path_factory.getbasetemp() / "sample_submission.csv"
    with sample.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["id", *names], *([text, *[0] * columns] for text in ids)])
    row = st.lists(NUMBERS, min_size=columns, max_size=columns)
    submission = written(["id", *names], [[text, *map(repr, data.draw(row))] for text in ids])
    submission_size.__globals__["_submission_size"].cache_clear()
    # Quotes around ids and names are the one thing that a sample may lack.
    assert len(submission) <= submission_size(sample) + sum(text.count('"') for text in ids) + 2 * (
        len(ids) + columns + 1
    )
    key = key_of(ids)
    spec = TaskSpec("t", "", "", Path("."), "rmse", "minimize", "id", tuple(names), "y")
    assert len(submission) <= size_limit(key, spec)


def task_of(folder, lines: int, columns: int) -> TaskSpec:
    (folder / "public").mkdir()
    line = b"1" + b",0" * columns + b"\n"
    (folder / "public" / "sample_submission.csv").write_bytes(line * lines)
    return TaskSpec("t", "", "", folder, "log_loss", "minimize", "id", ("a", "b"), "y")


def test_the_limit_follows_from_the_sample(tmp_path):
    limits = default_limits(task_of(tmp_path, 30_000, 200))
    assert limits.submission_bytes > 30_000 * 200 * 25 > Limits().submission_bytes
    assert limits.file_bytes >= limits.submission_bytes
    assert limits.work_bytes >= 2 * limits.submission_bytes


def test_small_tasks_keep_the_usual_limits(tmp_path):
    task = task_of(tmp_path, 100, 2)
    assert default_limits(task) == Limits.for_task(task)
    assert default_limits(
        TaskSpec("t", "", "", tmp_path / "no", "rmse", "minimize", "id", ("a",), "y")
    ).submission_bytes


def test_labels_may_be_longer_than_that_of_the_sample(tmp_path):
    limits = default_limits(task_of(tmp_path, 700_000, 1))
    assert limits.submission_bytes >= 700_000 * (100 + 8)
    key = key_of(("1",) * 700_000, ("x" * 100, "y"))
    spec = TaskSpec("t", "", "", Path("."), "rmse", "minimize", "id", ("label",), "y")
    assert size_limit(key, spec) >= 700_000 * (100 + 2)
    assert size_limit(key, spec, max_bytes=1000) == 1000


def test_long_ids_fit_the_graders_limit():
    key = key_of(f"{number:0600d}" for number in range(200_000))
    spec = TaskSpec("t", "", "", Path("."), "rmse", "minimize", "id", ("y",), "y")
    assert size_limit(key, spec) > max(MAX_SUBMISSION_BYTES, 200_000 * 620)
