"""create_task on tables that hypothesis makes: an error that says why, or a task that keeps all its promises."""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trl_mle.errors import UserError
from trl_mle.grading import METRICS
from trl_mle.grading.values import MISSING_WORDS
from trl_mle.prompts import build_prompt
from trl_mle.rewards.score_transform import transform_score
from trl_mle.tasks import create_task
from trl_mle.tasks.column_names import clean_name

ODD = [
    *sorted(MISSING_WORDS),
    "",
    " ",
    "id",
    "split",
    "a,b",
    'q"',
    "x\ny",
    "{{ 1 }}",
    ": #",
    "../x",
    "TRUE",
    "\ufeffé",
    "1",
    "1.0",
    "-",
    "007",
]
TEXTS = st.sampled_from(ODD) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(repr) | st.integers().map(str)
KINDS = [
    st.sampled_from(["yes", "no"]),
    st.sampled_from(["0", "1"]),
    st.sampled_from(["None", "Mild", "a,b", "True"]),
    st.integers(0, 10**9).map(str),
    NUMBERS,
    TEXTS,
    st.decimals(0, 10**6, places=2).map(lambda number: f"${number:,}"),
]


CLASSES = KINDS[:3]


@st.composite
def tables(draw):
    """Names, rows, target and metric. Mostly the metric fits the target."""
    height = draw(st.sampled_from([40, 24, 60, 6, 1, 0]))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=4))
    names = draw(st.lists(TEXTS, min_size=len(kinds), max_size=len(kinds), unique_by=clean_name))
    columns = [draw(st.lists(kind, min_size=height, max_size=height)) for kind in kinds]
    at = draw(st.integers(0, len(kinds) - 1))
    fitting = [name for name, metric in METRICS.items() if (kinds[at] in CLASSES) == (metric.predicts != "number")]
    metric = draw(st.sampled_from(fitting * 5 + sorted(METRICS)))
    return names, [list(cells) for cells in zip(*columns, strict=True)], names[at], metric


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables(), st.sampled_from(",;\t|"), st.booleans())
def test_a_task_or_words(table, sep, lenient):
    names, rows, target, metric = table
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=sep).writerows([names, *rows])
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder, "d.csv"), Path(folder, "t")
        path.write_bytes(buffer.getvalue().encode())
        try:
            task = create_task(path, target, metric, out, drop_missing_targets=lenient, keep_missing_words=lenient)
        except UserError as error:
            assert "preparing-" not in str(error) and [left.name for left in Path(folder).iterdir()] == ["d.csv"]
            return
        build_prompt(task)
        sample = task.public_dir / "sample_submission.csv"
        scores = [task.grade(sample, part).score for part in ("public", "private", "all")]
        assert None not in scores
        assert transform_score(scores[2], task.direction, task.transform) == pytest.approx(-0.5, abs=1e-6)
        answers = {row["id"]: row for row in rows_of(task.private_dir / "answers.csv")}
        made = rows_of(task.public_dir / "train.csv")
        for row in rows_of(task.public_dir / "test.csv"):
            made.append(row | {task.target_column: answers[row["id"]][task.target_column]})
        # Each row of the table is there once, with the cells of its features as they were.
        features = [
            (at, clean_name(name)) for at, name in enumerate(names) if clean_name(name) in made[0] and name != target
        ]
        assert {key for row in made for key in row} == {"id", task.target_column, *(name for _, name in features)}
        before = sorted(
            tuple(row[at].replace("\r\n", "\n").replace("\r", "\n") for at, _ in features) for row in rows if any(row)
        )
        after = sorted(tuple(row[name] for _, name in features) for row in made)
        assert after == before if len(after) == len(before) else (lenient and set(after) <= set(before))
