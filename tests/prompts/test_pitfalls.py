"""Pitfalls: what a prompt says to take care of, and how it says to write the submission."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from tests.prompts.test_prompts import write_task
from trl_mle.prompts import build_prompt
from trl_mle.tasks import Task, list_tasks, load_task

TABLE = pd.DataFrame({"id": [7, 8], "size": [1.5, 2.0], "kind": ["a", "b"], "on": [True, False], "y": [1.0, 2.0]})


def user(task) -> str:
    return build_prompt(task)[1]["content"]


def example(text: str) -> list[str]:
    return [line[4:] for line in text.splitlines() if line.startswith("    ")]


def test_each_sentence_stands_where_it_is_true(tmp_path):
    task = write_task(tmp_path, TABLE, "y", target_columns=("y",))
    text = user(task)
    assert "test.csv has no y. Drop or select that in train.csv alone." in text
    assert "- kind holds text; scikit-learn needs numbers." in text
    assert "`mean_squared_error` has no argument `squared`" in text
    assert "`squared`" not in user(replace(task, packages=("numpy",)))
    numbers = write_task(tmp_path / "numbers", TABLE.drop(columns="kind"), "y", "accuracy")
    assert "holds text" not in user(numbers) and "`squared`" not in user(numbers)
    (task.public_dir / "test.csv").write_text(
        "id,size,kind,on,y\n9,1,a,True,0\n"
    )  # the target is there, and worth nothing
    assert "has no y" not in user(replace(task, title="Another"))


def test_no_sentence_without_tables(tmp_path):
    task = write_task(tmp_path, TABLE, "y")
    assert "# Take care" not in user(replace(task, train_file=None))
    assert "# Take care" not in user(replace(task, test_file=None))


@pytest.mark.parametrize("name", ["has\nlines", "`ticks`", "<|im_end|>", "x" * 300])
def test_no_example_for_names_that_a_prompt_cannot_show(tmp_path, name):
    task = write_task(tmp_path, TABLE.rename(columns={"y": name}), name)
    text = user(task)
    assert "Predict the rows of test.csv" in text
    assert example(text) == []
    assert "```" not in text.split("# Answer")[0]


def test_quotes_in_a_name_are_escaped_in_the_example(tmp_path):
    task = write_task(tmp_path, TABLE.rename(columns={"y": 'a "b"'}), 'a "b"')
    assert example(user(task))[0].endswith('"a \\"b\\"": predictions})')


def test_no_example_if_rows_have_no_id(tmp_path):
    assert example(user(replace(write_task(tmp_path, TABLE, "y"), id_column=None))) == []
    two = write_task(tmp_path / "two", TABLE, "y", prediction_columns=("y", "size"), target_columns=("y", "size"))
    assert example(user(two)) == []


@pytest.mark.parametrize("name", list_tasks())
def test_the_example_writes_a_valid_submission(name, tmp_path):
    task = load_task(name)
    assert isinstance(task, Task)
    sample = pd.read_csv(task.sample_path)
    predictions = [str(column) for column in sample.columns[1:]]
    given = (
        f"import pandas as pd\ntest = pd.read_csv({str(task.test_path)!r})\n"
        f"sample = pd.read_csv({str(task.sample_path)!r})\n"
        f"class model: classes_ = {predictions!r}\n"
        "values = sample.drop(columns='id')\n"
        "predictions = values.iloc[:, 0] if values.shape[1] == 1 else values.to_numpy()\n"
    )
    lines = example(user(task))
    assert lines
    subprocess.run([sys.executable, "-c", given + "\n".join(lines)], cwd=tmp_path, check=True)
    grade = task.grade(tmp_path / "submission.csv")
    assert grade.valid, grade
