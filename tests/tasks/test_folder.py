"""Task folders of users: every error names file, key, value and fix."""

import csv
import gzip
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.errors import TaskError
from trl_mle.grading.csv_rows import read_rows
from trl_mle.tasks import load_task
from trl_mle.tasks.splits import stratified_mask
from trl_mle.tasks.task_yaml import read_task_yaml, task_yaml
from trl_mle.types import ScoreTransform

YAML = """\
id: weather
title: Will it rain?
metric: accuracy
direction: maximize
id_column: row
target_column: rain
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("public", "private"):
        (tmp_path / name).mkdir()
    (tmp_path / "task.yaml").write_text(YAML)
    (tmp_path / "description.md").write_text("Predict rain.\n")
    (tmp_path / "public" / "train.csv").write_text("row,wind,rain\n1,3.5,yes\n2,1.0,no\n")
    (tmp_path / "public" / "test.csv").write_text("row,wind\n3,2\n4,5\n")
    (tmp_path / "public" / "sample_submission.csv").write_text("row,rain\n3,no\n4,no\n")
    (tmp_path / "private" / "answers.csv").write_text("row,rain,split\n3,yes,public\n4,no,private\n")
    return tmp_path


def fails(folder: Path, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_folder_is_read_with_its_defaults(folder):
    task = load_task(str(folder))
    assert (task.id, task.prediction_columns, task.time_limit_s) == ("weather", ("rain",), 60.0)
    assert task.transform == ScoreTransform(optimum=1.0)
    assert (task.reference, task.baseline) == (None, None)
    assert task.grade(b"row,rain\n3,yes\n4,yes\n").score == 1.0
    assert task.grade(b"row,rain\n3,yes\n4,yes\n", "private").score == 0.0
    (folder / "reference.py").touch()
    assert load_task(folder).reference == task.folder / "reference.py"
    assert hash(task) == hash(load_task(str(folder)).__class__(**vars(task)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric:", "metrik:", r"task\.yaml: unknown key 'metrik' \(value 'accuracy'\); did you mean 'metric'"),
        ("title: Will it rain?\n", "", "key 'title' is missing"),
        ("title: Will it rain?", "title: 3", "title is 3; write a non-empty text"),
        ("metric: accuracy", "metric: acc", "metric: unknown metric 'acc'; choose one of accuracy"),
        ("direction: maximize", "direction: up", "direction is 'up'; write 'maximize' or 'minimize'"),
        ("direction: maximize", "direction: minimize", "'minimize', but the metric 'accuracy'.*direction: maximize"),
        ("id: weather", "id: 'builtin:x'", "id is 'builtin:x'; use letters"),
        ("id: weather", "id: weather\nid: rain", "line 2, column 1: .*the key `id` occurs twice"),
        ("id: weather", "id: weather\n  bad: [", r"task\.yaml: line \d+, column \d+: not valid YAML"),
        ("id: weather", "id: weather\ntime_limit_s: -1", "time_limit_s is -1; write a positive number of seconds"),
        ("id: weather", "id: weather\ntime_limit_s: .nan", "time_limit_s is nan"),
        ("id: weather", "id: weather\ntime_limit_s: true", "time_limit_s is True"),
        (
            "id: weather",
            "id: weather\nmemory_bytes: 2.5",
            "memory_bytes is 2.5; write a positive whole number of bytes",
        ),
        ("id: weather", "id: weather\nthreads: 0", "threads is 0"),
        ("title: Will it rain?", r'title: "a\ud800"', "with half of a character"),
        ("id: weather", "id: weather\npackages: numpy", "packages is 'numpy'; write a list"),
        ("id: weather", "id: weather\ntransform: linear", "transform is 'linear'; write for example"),
        ("id: weather", "id: weather\ntransform: {kind: cubic}", "transform.kind is 'cubic'"),
        ("id: weather", "id: weather\ntransform: {kind: linear, worst: 0}", "transform.best is None"),
        ("id: weather", "id: weather\ntransform: {kind: linear, worst: 1, best: 0}", "transform.worst is 1.*exchange"),
        ("id: weather", "id: weather\ntransform: {kind: log, worst: 0, best: 1}", "transform.worst is 0.*positive"),
        ("id: weather", "id: weather\ntransform: {kind: identity, worst: 0}", "takes no worst"),
        ("id: weather", "id: weather\ntransform: {kind: linear, low: 0}", "unknown key 'low'"),
        ("target_column: rain", "target_column: row", "both 'row'"),
        ("target_column: rain", "target_column: snow", r"train\.csv has no column 'snow'"),
        ("target_column: rain", "target_column: wind", r"test\.csv holds the target column 'wind'"),
        ("id_column: row", "id_column: id", r"no column 'id'"),
        ("metric: accuracy", "metric: f1_macro\ntarget_colum: x", "unknown key 'target_colum'"),
    ],
)
def test_a_wrong_key_or_value(folder, old, new, message):
    text = (folder / "task.yaml").read_text()
    assert old in text
    (folder / "task.yaml").write_text(text.replace(old, new, 1))
    fails(folder, message)


@pytest.mark.parametrize("name", ["", " ", None, 3])
def test_what_is_no_name_of_a_task_is_named(name):
    with pytest.raises(TaskError, match=r"is not the name of a task\. Write `load_task\('builtin:digits'\)`"):
        load_task(name)


def test_yaml_that_is_no_mapping_or_no_text(folder):
    (folder / "task.yaml").write_text("- a\n- b\n")
    fails(folder, "holds list, not keys")
    (folder / "task.yaml").write_bytes(b"id: \xff")
    fails(folder, "cannot be read")


@given(text=st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_text_as_yaml_gives_a_task_error_or_fields(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(TaskError, match=re.escape(str(path))):
        read_task_yaml(path)


@pytest.mark.parametrize(
    "name",
    [
        "task.yaml",
        "description.md",
        "public/train.csv",
        "public/test.csv",
        "public/sample_submission.csv",
        "private/answers.csv",
    ],
)
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    fails(folder, f"{re.escape(name)} does not exist")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("description.md", " \n", "is empty"),
        ("public/sample_submission.csv", "row,rain\n3,no\n", "lacks 1 ids .* '4'"),
        ("public/sample_submission.csv", "row,rain\n3,no\n4,no\n5,no\n", "1 ids without an answer .* '5'"),
        ("public/sample_submission.csv", "row,rain\n3,no\n3,no\n4,no\n", "id '3' more than once"),
        (
            "public/sample_submission.csv",
            "row,rain,sun\n3,no,no\n4,no,no\n",
            "2 prediction columns, but accuracy takes",
        ),
        ("public/sample_submission.csv", "", "is empty"),
        ("public/test.csv", "row,wind\n3,2\n9,5\n", "lacks 1 ids"),
        ("public/train.csv", "row,rain,rain\n1,no,no\n", "'rain' occurs 2 times"),
        ("private/answers.csv", "row,rain\n3,yes\n4,no\n", "no column 'split'"),
        ("private/answers.csv", "row,rain,split\n3,yes,public\n4,no,test\n", "'private'"),
        ("private/answers.csv", "row,rain,split\n3,yes,public\n4,,private\n", "empty label"),
        ("private/answers.csv", "row,rain,split\n3,yes,public\n3,no,private\n", "'3' more than once"),
        ("private/answers.csv", "row,snow,split\n3,yes,public\n4,no,private\n", "no column 'rain'"),
    ],
)
def test_files_that_contradict_each_other(folder, name, content, message):
    (folder / name).write_text(content)
    fails(folder, message)


def test_probabilities_need_a_column_for_each_class(folder):
    text = YAML.replace("accuracy", "log_loss").replace("maximize", "minimize")
    (folder / "task.yaml").write_text(text)
    fails(folder, "one prediction column 'rain', the probability of label 1")
    (folder / "public" / "sample_submission.csv").write_text("row,no,maybe\n3,.5,.5\n4,.5,.5\n")
    fails(folder, "holds the label 'yes' .* has no such prediction column")
    (folder / "public" / "sample_submission.csv").write_text("row,no,yes\n3,.5,.5\n4,.5,.5\n")
    assert load_task(folder).grade(b"row,no,yes\n3,.5,.5\n4,.5,.5\n").score == pytest.approx(np.log(2))


def test_what_is_written_as_yaml_is_read_again(folder, tmp_path):
    task = load_task(folder)
    path = tmp_path / "again.yaml"
    path.write_text(task_yaml(task, "two\nlines"))
    assert path.read_text().startswith("# two\n# lines\n")
    for key, value in read_task_yaml(path).items():
        assert getattr(task, key) == value


# -- several tables, formats and graders --------------------------------------------------------------------------


def rewrite(folder: Path, old: str, new: str) -> None:
    text = (folder / "task.yaml").read_text()
    assert old in text
    (folder / "task.yaml").write_text(text.replace(old, new, 1))


def test_public_files_may_be_nested_and_compressed(folder):
    public = folder / "public"
    (public / "tables").mkdir()
    (public / "tables" / "train.tsv.gz").write_bytes(gzip.compress(b"row\twind\train\n1\t3.5\tyes\n2\t1.0\tno\n"))
    with zipfile.ZipFile(public / "tables" / "sample.csv.zip", "w") as archive:
        archive.writestr("sample.csv", "row,rain\n3,no\n4,no\n")
    for name in ("train.csv", "test.csv", "sample_submission.csv"):
        (public / name).unlink()
    with (folder / "task.yaml").open("a") as file:
        file.write("train_file: tables/train.tsv.gz\ntest_file: null\nsample_file: tables/sample.csv.zip\n")
    task = load_task(folder)
    assert task.train_path == task.public_dir / "tables" / "train.tsv.gz"
    assert (task.test_path, task.prediction_columns) == (None, ("rain",))
    assert task.grade(b"row,rain\n3,yes\n4,yes\n").score == 1.0
    again = folder / "again.yaml"
    again.write_text(task_yaml(task))
    assert all(getattr(task, key) == value for key, value in read_task_yaml(again).items())


def test_a_broken_or_ambiguous_archive_is_named(folder):
    path = folder / "public" / "train.csv.zip"
    with (folder / "task.yaml").open("a") as file:
        file.write("train_file: train.csv.zip\n")
    path.write_bytes(b"PK")
    fails(folder, r"train\.csv\.zip is not a readable CSV file: File is not a zip file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "row,rain\n")
        archive.writestr("b.csv", "row,rain\n")
    fails(folder, "holds 2 files; pack one file alone")


def test_rows_without_ids_are_matched_by_position(folder):
    rewrite(folder, "id_column: row", "id_column: null")
    (folder / "public" / "sample_submission.csv").write_text("rain\nno\nno\n")
    (folder / "private" / "answers.csv").write_text("rain,split\nyes,public\nno,private\n")
    task = load_task(folder)
    assert task.submission_columns == ("rain",)
    assert task.grade(b"rain\nyes\nyes\n", "all").score == 0.5
    assert task.grade(b"rain\nno\nyes\n", "all").score == 0.0
    assert "has 1 rows, not 2" in str(task.grade(b"rain\nyes\n").reason)
    assert "more than 2 rows" in str(task.grade(b"rain\nyes\nno\nno\n").reason)
    (folder / "public" / "test.csv").write_text("wind\n1\n")
    fails(folder, r"test\.csv has 1 rows, but .*answers\.csv has 2")


def test_a_link_that_leads_to_the_answers_is_refused(folder):
    (folder / "public" / "train.csv").unlink()
    (folder / "public" / "train.csv").symlink_to("../private/answers.csv")
    fails(folder, r"train\.csv is a link that leads out of public/")


@pytest.mark.parametrize("name", ["../private/answers.csv", "/etc/passwd", "a//b", "./a", "a\\b", "c:a"])
def test_a_file_outside_of_public_is_refused(folder, name):
    with (folder / "task.yaml").open("a") as file:
        file.write(f"sample_file: {name!r}\n")
    fails(folder, r"sample_file is '.*'; write a path inside public/")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("target_columns: [rain]", "target_column and target_columns are both given"),
        ("grader: magic", "grader is 'magic'; write one of tabular"),
        ("grader: {name: tabular, depth: 3}", "grader has the unknown key 'depth'; 'tabular' has no settings"),
        ("metric_text: 3", "metric_text is 3; write a non-empty text"),
        ("sample_file: null", "sample_file is None; write a non-empty text"),
    ],
)
def test_a_wrong_value_of_a_further_key(folder, line, message):
    with (folder / "task.yaml").open("a") as file:
        file.write(line + "\n")
    fails(folder, message)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("rain", "is 'rain'; write a list"),
        ("[rain, rain]", "write each name once"),
        ("[]", "is empty"),
        ("[row]", "both 'row'"),
    ],
)
def test_wrong_target_columns(folder, targets, message):
    rewrite(folder, "target_column: rain", f"target_columns: {targets}")
    fails(folder, message)


def test_the_first_target_column_follows_and_is_followed(folder):
    task = load_task(folder)
    assert (task.target_column, task.target_columns) == ("rain", ("rain",))
    assert replace(task, target_column="snow").target_columns == ("snow",)
    several = replace(task, target_column="", target_columns=("a", "b"))
    assert (several.target_column, replace(several, threads=2)) == ("a", replace(several, threads=2))
    with pytest.raises(ValueError, match="'b', but the first of target_columns is 'a'"):
        replace(several, target_column="b")


# -- splits -------------------------------------------------------------------------------------------------------


@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda counts: sum(counts) >= 4),
    share=st.floats(0.3, 0.7),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_each_class_gets_its_share(counts, share, seed):
    target = pd.Series(np.repeat([f"class {i}" for i in range(len(counts))], counts)).sample(frac=1, random_state=seed)
    mask = stratified_mask(target, share, seed, numeric=False)
    assert mask.sum() == round(share * len(target))
    assert (mask == stratified_mask(target, share, seed, numeric=False)).all()
    for label, count in target.value_counts().items():
        assert abs(mask[(target == label).to_numpy()].sum() - share * count) <= 1.0 + 1e-9


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=40, max_size=200), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_a_number_is_split_evenly_over_its_range(values, seed):
    target = pd.Series(values)
    mask = stratified_mask(target, 0.5, seed, numeric=True)
    ranks = target.rank(method="first").to_numpy()
    low = ranks <= len(ranks) / 2
    assert abs(mask[low].sum() - mask[~low].sum()) <= 11


def test_another_seed_is_another_split_and_no_part_is_empty():
    target = pd.Series(["a", "b"] * 50)
    assert (stratified_mask(target, 0.5, 0, False) != stratified_mask(target, 0.5, 1, False)).any()
    with pytest.raises(TaskError, match=r"1 rows cannot be split with a share of 0\.5"):
        stratified_mask(pd.Series(["a"]), 0.5, 0, False)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("private/answers.csv", "row,rain,split\n3,yes,public,\n4,no,private,\n", "line 2 of .* has 4 cells"),
        ("private/answers.csv", "row,rain,split,rain\n3,yes,public,no\n4,no,private,no\n", "'rain' occurs 2 times"),
        ("private/answers.csv", "row,rain,split\n3,yes,public\n4,no\n", "line 3 of .* has 2 cells"),
        ("private/answers.csv", "", "is empty"),
        ("private/answers.csv", 'row,rain,split\n3,"yes,public\n4,no,private\n', "has 2 cells"),
        ("public/train.csv", "row,wind,rain\n1,3.5,yes,\n2,1.0,no,\n", "line 2 of .* has 4 cells"),
        ("public/train.csv", "row,wind,rain\n1,3.5\n", "line 2 of .* has 2 cells"),
        ("public/test.csv", "row,wind\n3,2\n4,5\n4.0,5\n", "holds the id '4.0' more than once"),
        ("public/test.csv", "row,wind\n3,2\n4.5,5\n", "lacks 1 ids of .* for example '4'"),
    ],
)  # fmt: skip
def test_rows_and_ids_of_a_folder_are_checked(folder, file, content, message):
    (folder / file).write_text(content)
    fails(folder, message)


def test_cells_may_be_long_and_the_limit_of_the_process_stays(folder):
    long = "a" * 200_000
    with (folder / "public" / "train.csv").open("a") as file:
        file.write(f"3,{long},yes\n")
    load_task(folder)
    assert csv.field_size_limit() == 131_072
    assert list(read_rows(folder / "public" / "train.csv"))[-1] == ["3", long, "yes"]


def test_a_line_that_is_not_utf_8_is_named(folder):
    rows = [b"row,wind,rain\n", *[b"1,2,yes\n"] * 500, b"1,\xff,no\n"]
    (folder / "public" / "train.csv").write_bytes(b"".join(rows))
    fails(folder, r"line 502 of .*train\.csv is not UTF-8")


def test_ids_of_a_folder_are_compared_as_the_grader_compares_them(folder):
    (folder / "public" / "test.csv").write_text("\ufeffrow,wind\n 3.0,2\n4.0,5\n", encoding="utf-8")
    (folder / "private" / "answers.csv").write_text(
        "\ufeffrow,rain,split\n3,yes,public\n 4 ,no,private\n", encoding="utf-8"
    )
    assert load_task(folder).grade(b"row,rain\n3.0,yes\n4,no\n", "all").score == 1.0


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    fails(folder, r"description\.md cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"time_limit_s: 1{'0' * 400}", "time_limit_s is 1000"),
        (f"memory_bytes: 1{'0' * 400}", "memory_bytes is 1000"),
        ("memory_bytes: 1_125_899_906_842_625", r"memory_bytes is 1125899906842625; .* at most 2\*\*50"),
        ("time_limit_s: 1e9", "at most a year"),
        (f"time_limit_s: {'9' * 5000}", "is no value of the type int"),
        ("time_limit_s: 1:30", "time_limit_s is '1:30'"),
        ("time_limit_s: !!int ''", "'' is no value of the type int"),
        ("time_limit_s: !!float ''", "'' is no value of the type float"),
        ("time_limit_s: !!bool maybe", "'maybe' is no value of the type bool"),
        ("time_limit_s: !!timestamp x", "'x' is no value of the type timestamp"),
        ("time_limit_s: 2020-13-45", "is no value of the type timestamp"),
        ("? [a]\n: b", "a key must be a single value"),
        ("? {a: b}\n: c", "a key must be a single value"),
        ("x: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("transform: {? [a] : b}", "a key must be a single value"),
        (f"transform: {{kind: linear, worst: 0, best: 1{'0' * 400}}}", r"transform\.best is 1000"),
        ("transform: {kind: linear, worst: -1.7e308, best: 1.7e308}", "too far from each other"),
        ("transform: {kind: log, worst: 1e-320, best: 2e-320}", "write 'kind: linear'"),
        ("transform: {kind: log, worst: 1e300, best: 1.0000000000000002e300}", "write 'kind: linear'"),
    ],
)
def test_a_value_that_no_yaml_or_no_number_has(folder, line, message):
    with (folder / "task.yaml").open("a") as file:
        file.write(line + "\n")
    fails(folder, message)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("010", 10), ("1e2", 100), ("1_0", 10), (".5", 0.5), ("0x10", 16), ("5.", 5), ("1_0.2_5", 10.25), ("1_0e0", 10)],
)
def test_numbers_are_read_as_people_mean_them(folder, written, seconds):
    with (folder / "task.yaml").open("a") as file:
        file.write(f"time_limit_s: {written}\ntransform: {{kind: linear, worst: -1e-5, best: 1}}\n")
    task = load_task(folder)
    assert (task.time_limit_s, task.transform.worst) == (seconds, -1e-5)
    # A text that looks like a number stays a text.
    (folder / "again.yaml").write_text(task_yaml(replace(task, title=written, target_column=written)))
    fields = read_task_yaml(folder / "again.yaml")
    assert (fields["title"], fields["target_column"]) == (written, written)


@pytest.mark.parametrize("text", ["1_.5", "_1.5", "1._5", "1__0.5", "1.5_", "1e1_0"])
def test_a_line_under_no_digit_makes_a_text(folder, text):
    (folder / "task.yaml").write_text(YAML.replace("Will it rain?", text))
    assert load_task(folder).title == text
