"""Pitfalls: what a prompt says to take care of, and the frame of a program that it shows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from tests.prompts.test_prompts import write_task
from trl_mle.prompts import build_prompt
from trl_mle.tasks import list_tasks, load_task

TABLE = pd.DataFrame({"id": [7, 8], "size": [1.5, 2.0], "kind": ["a", "b"], "on": [True, False], "y": [1.0, 2.0]})


def user(task) -> str:
    return build_prompt(task)[1]["content"]


def frame(text: str) -> list[str]:
    return [line[4:] for line in text.splitlines() if line.startswith("    ")]


def test_each_sentence_stands_where_it_is_true(tmp_path):
    task = write_task(tmp_path, TABLE, "y", target_columns=("y",))
    text = user(task)
    assert "has no y" not in text  # the frame shows it
    unnamed = user(replace(task, id_column=None))
    assert "test.csv has no y. Drop or select that in train.csv alone." in unnamed
    assert "`mean_squared_error` has no argument `squared`" in text
    assert "`squared`" not in user(replace(task, packages=("numpy",)))
    numbers = write_task(tmp_path / "numbers", TABLE.drop(columns="kind"), "y", "accuracy")
    assert "holds text" not in user(numbers) and "`squared`" not in user(numbers)
    (task.public_dir / "test.csv").write_text(
        "id,size,kind,on,y\n9,1,a,True,0\n"
    )  # the target is there, and worth nothing
    assert "has no y" not in user(replace(task, id_column=None, title="Another"))


def test_no_sentence_without_tables(tmp_path):
    task = write_task(tmp_path, TABLE, "y")
    assert "# Take care" not in user(replace(task, train_file=None))
    assert "# Take care" not in user(replace(task, test_file=None))


@pytest.mark.parametrize("name", ["has\nlines", "`ticks`", "<|im_end|>", "x" * 300])
def test_no_frame_for_names_that_a_prompt_cannot_show(tmp_path, name):
    task = write_task(tmp_path, TABLE.rename(columns={"y": name}), name)
    text = user(task)
    assert "predict the rows of test.csv" in text
    assert frame(text) == []
    assert "```" not in text.split("# Answer")[0]


def test_quotes_in_a_name_are_escaped_in_the_frame(tmp_path):
    task = write_task(tmp_path, TABLE.rename(columns={"y": 'a "b"'}), 'a "b"')
    assert frame(user(task))[-2].endswith('"a \\"b\\"": predictions})')


def test_each_metric_names_its_own_function(tmp_path):
    text = user(write_task(tmp_path, TABLE, "y", "rmsle"))
    assert "`mean_squared_log_error` has no argument `squared`; there is `root_mean_squared_log_error`." in text


def test_several_targets_are_named_together(tmp_path):
    task = write_task(tmp_path, TABLE, "y")
    TABLE[["id", "size"]].to_csv(task.public_dir / "test.csv", index=False)
    task = replace(task, target_column="y", target_columns=("y", "on"), prediction_columns=("y", "on"))
    assert "test.csv has no y or on. Drop or select those in train.csv alone." in user(task)


def test_truth_values_with_gaps_and_names_of_images_are_no_text(tmp_path):
    on, image = [True, None, False], [f"train/{row}.JPG" for row in range(3)]
    table = pd.DataFrame({"id": range(3), "on": on, "y": [1.0, 2.0, 3.0]})
    text = user(write_task(tmp_path / "gaps", table, "y"))
    assert "needs numbers" not in text and "get_dummies" not in text and frame(text)
    text = user(write_task(tmp_path / "images", table.assign(image=image), "y"))
    assert "needs numbers" not in text and not frame(text)


def test_few_categories_become_columns_and_free_text_does_not(tmp_path):
    assert "X = pd.get_dummies(train.drop(" in user(write_task(tmp_path / "few", TABLE, "y"))
    words = pd.DataFrame({"id": range(30), "kind": [f"w{row}" for row in range(30)], "y": 1.0})
    text = user(write_task(tmp_path / "many", words, "y"))
    assert "get_dummies" not in text and "kind holds text; scikit-learn needs numbers." in text


def test_nothing_is_said_of_packages_that_may_not_be_imported(tmp_path):
    text = user(write_task(tmp_path, TABLE, "y", packages=("numpy",)))
    assert "scikit-learn" not in text and frame(text) == []


def test_no_frame_that_does_not_fit(tmp_path):
    named = write_task(tmp_path / "tsv", TABLE, "y", train_file="train.tsv")
    TABLE.to_csv(named.public_dir / "train.tsv", sep="\t", index=False)
    assert frame(user(named)) == []
    assert frame(user(replace(write_task(tmp_path, TABLE, "y"), id_column=None))) == []
    two = write_task(tmp_path / "two", TABLE, "y", prediction_columns=("y", "size"), target_columns=("y", "size"))
    assert frame(user(two)) == []


@pytest.mark.parametrize("kind", [{}, {"kind": ["a", "b"]}], ids=["numbers", "categories"])
@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["size", "y"], ["id", "size"]),
        (["id", "size", "registered", "y"], ["id", "size"]),
        (["id", "size", "width", "y"], ["width", "id", "size"]),
    ],
    ids=["no ids to train on", "a column of the train table alone", "another order"],
)
def test_the_frame_gives_a_model_the_columns_of_the_test_table(tmp_path, monkeypatch, kind, train, test):
    table = pd.DataFrame(
        {"id": [7, 8], "size": [1.5, 2.0], "width": [3, 4], "registered": [0, 1], "y": [1.0, 2.0], **kind}
    )
    task = write_task(tmp_path, table, "y")
    table[[*train, *kind]].to_csv(task.public_dir / "train.csv", index=False)
    table[[*test, *kind]].to_csv(task.public_dir / "test.csv", index=False)
    lines = frame(user(task))
    place = next(number for number, line in enumerate(lines) if line.startswith("#"))
    monkeypatch.chdir(task.folder)
    read = [line.replace("input/", "public/") for line in lines[:place]]
    names: dict[str, pd.DataFrame] = {}
    exec("\n".join(read), names)
    assert list(names["X"].columns) == list(names["X_test"].columns)
    assert "registered" not in names["X"]


def test_no_frame_that_reads_ids_or_labels_otherwise_than_they_are(tmp_path):
    words = TABLE.assign(y=["None", "Mild"])
    text = user(write_task(tmp_path, words, "y", "accuracy"))
    assert "takes 'None' in y for missing values" in text and frame(text) == []
    more = write_task(tmp_path / "more", TABLE, "y")
    TABLE.assign(extra=1).drop(columns="y").to_csv(more.public_dir / "test.csv", index=False)
    assert frame(user(more)) == []


@pytest.mark.parametrize("name", list_tasks())
def test_a_program_with_the_frame_has_a_valid_submission(name, tmp_path):
    task = load_task(name)
    lines = frame(user(task))
    place = next(number for number, line in enumerate(lines) if line.startswith("#"))
    (tmp_path / "input").symlink_to(task.public_dir)
    model = [
        "from sklearn.dummy import DummyClassifier, DummyRegressor",
        f"model = Dummy{'Regressor' if task.metric in ('rmse', 'rmsle') else 'Classifier'}().fit(X, y)",
        f"predictions = model.predict{'_proba' if len(task.prediction_columns) > 1 else ''}(X_test)",
    ]
    program = "\n".join([*lines[:place], *model, *lines[place + 1 :]])
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert task.grade(tmp_path / "submission.csv").valid
