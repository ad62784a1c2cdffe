"""The prompt names the public files that there are, whatever their names, formats and folders."""

from __future__ import annotations

import gzip
import json
import re
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.errors import TaskError
from trl_mle.prompts import build_prompt
from trl_mle.prompts.file_list import MAX_LINES, file_lines
from trl_mle.special_tokens import PATTERN
from trl_mle.types import TaskSpec

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 640, 480) + b"\x08\x02"
JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 32, 48)


@pytest.fixture
def task(tmp_path) -> TaskSpec:
    public = tmp_path / "public"
    public.mkdir()
    (public / "train.csv").write_text("id,a,b,x,y\n1,1,2,0.5,1.5\n2,3,4,0.7,2.5\n")
    (public / "test.csv").write_text("id,a,b\n3,5,6\n4,7,8\n5,1,1\n")
    (public / "sample_submission.csv").write_text("id,x,y\n3,0,0\n4,0,0\n5,0,0\n")
    return TaskSpec("t", "T", "D", tmp_path, "rmsle", "minimize", "id", ("x", "y"), target_columns=("x", "y"))


def user(task: TaskSpec) -> str:
    return build_prompt(task)[1]["content"]


def test_several_targets(task):
    text = user(task)
    assert "Metric: root mean squared error of log(1 + y), mean of the 2 targets; lower is better." in text
    assert "- x (to predict): 2 categories: 0.5, 0.7\n- y (to predict): 2 categories: 1.5, 2.5\n" in text
    assert "test.csv, 3 rows: the same columns without x, y.\n" in text
    assert "One finite number of at least 0 in each row of each of these columns." in text


def test_rows_without_ids_keep_their_order(task):
    assert "one row for each row of test.csv, in its order." in user(replace(task, id_column=None))
    assert "one row for each id of test.csv." in user(task)


def test_names_of_the_tables_are_those_of_the_task(task):
    public = task.public_dir
    (public / "tables").mkdir()
    (public / "tables" / "fit.tsv.gz").write_bytes(gzip.compress(b"id\ta\tx\ty\n1\t2\t3\t4\n"))
    with zipfile.ZipFile(public / "sample.csv.zip", "w") as archive:
        archive.writestr("sample.csv", "id,x,y\n3,0,0\n")
    for name in ("train.csv", "sample_submission.csv"):
        (public / name).unlink()
    text = user(replace(task, train_file="tables/fit.tsv.gz", sample_file="sample.csv.zip"))
    assert "\ntables/fit.tsv.gz, 1 rows:\n- id: row id\n- a: int 2 to 2\n" in text
    assert "The first lines of input/sample.csv.zip:\nid,x,y\n3,0,0\n" in text
    assert "test.csv, 3 rows: columns: id, a, b." in text
    assert "train.csv" not in text


def test_tables_of_other_formats_are_listed_and_not_opened(task):
    (task.public_dir / "train.parquet").write_bytes(b"PAR1" * 500)
    (task.public_dir / "train.csv").unlink()
    text = user(replace(task, train_file="train.parquet", test_file=None))
    assert "# Files in input/ (read-only)\ntest.csv, 3 rows, columns: id, a, b\ntrain.parquet, 2 kB\n" in text
    assert "one row for each id of sample_submission.csv." in text


def test_a_task_of_images(task):
    for name, count, content in (("images/train", 30, PNG), ("images/test", 20, JPEG), ("notes", 2, b"x")):
        (task.public_dir / name).mkdir(parents=True)
        for number in range(count):
            suffix = {PNG: "png", JPEG: "jpg"}.get(content, "txt")
            (task.public_dir / name / f"{number:03d}.{suffix}").write_bytes(content)
    (task.public_dir / "labels.csv").write_text("file,label\na,1\n")
    (task.public_dir / "more.json").write_text(json.dumps({}))
    lines = file_lines(task.public_dir, ("train.csv", "test.csv", "sample_submission.csv"))
    assert lines == [
        "labels.csv, 1 rows, columns: file, label",
        "more.json, 2 bytes",
        "images/test/: 20 files .jpg, such as images/test/000.jpg, 48 x 32 pixels",
        "images/train/: 30 files .png, such as images/train/000.png, 640 x 480 pixels",
        "notes/000.txt, 1 bytes",
        "notes/001.txt, 1 bytes",
    ]
    text = user(replace(task, train_file=None, test_file=None, metric="dice", metric_text="Dice of the masks"))
    assert "Metric: Dice of the masks; lower is better." in text
    assert "Fill the columns as the sample does." in text
    assert "images/train/: 30 files" in text
    assert "(to predict)" not in text


def test_many_folders_share_the_line_of_the_one_above(task):
    for number in range(40):
        folder = task.public_dir / "classes" / f"{number}"
        folder.mkdir(parents=True)
        for file in range(5):
            (folder / f"{file}.wav").touch()
    assert file_lines(task.public_dir)[-1] == "classes/: 200 files .wav, such as classes/0/0.wav"
    for number in range(40):
        (task.public_dir / f"{number}.bin").touch()
    lines = file_lines(task.public_dir)
    assert len(lines) == MAX_LINES
    assert lines[-1] == f"and {200 + 43 - MAX_LINES + 1} more files"


def test_a_link_that_leads_out_is_not_listed(task, tmp_path):
    (tmp_path / "answers.csv").write_text("secret,column\n1,2\n")
    (task.public_dir / "more.csv").symlink_to(tmp_path / "answers.csv")
    assert "secret" not in user(task)
    assert "more.csv" not in user(task)


def test_a_new_file_is_seen(task):
    before = user(task)
    (task.public_dir / "extra.csv").write_text("k\n1\n")
    assert "extra.csv, 1 rows, columns: k\n" in user(task)
    assert before.replace("x, y.\n", "x, y.\nextra.csv, 1 rows, columns: k\n", 1) == user(task)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 200
)


@given(name=NAMES | st.sampled_from(["<|im_end|>.csv", "[INST]", "```", "a\nb", "<s>.png", "\u25c1think\u25b7"]))
@settings(max_examples=60, deadline=None)
def test_names_of_files_are_data(tmp_path_factory, name):
    folder: Path = tmp_path_factory.mktemp("names")
    (folder / name).write_text("<|im_start|>system,```\n1,2\n")
    (line,) = file_lines(folder)
    assert not PATTERN.search(line)
    assert "`" not in line
    assert len(line.splitlines()) == 1
    assert len(line) < 500


def test_files_that_are_no_tables_after_all(task):
    (task.public_dir / "empty.csv").touch()
    (task.public_dir / "binary.csv").write_bytes(b"\xff\xfe\x00\n")
    (task.public_dir / "half.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 1000)[:20])
    (task.public_dir / "cut.png").write_bytes(PNG[:18])
    lines = file_lines(task.public_dir)
    assert lines[:4] == ["binary.csv", "cut.png, 18 bytes", "empty.csv, 0 bytes", "half.csv.gz"]
    assert "binary.csv" in user(task)
    (task.public_dir / "train.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 1000)[:20])
    with pytest.raises(TaskError, match=r"the public files of task 't' .* cannot be read"):
        build_prompt(replace(task, train_file="train.csv.gz"))


def test_a_table_of_a_million_columns_has_a_short_line(task):
    names = ",".join(f"c{number}" for number in range(100_000))
    (task.public_dir / "wide.csv").write_text(f"{names}\n")
    (line,) = [line for line in file_lines(task.public_dir) if "wide" in line]
    assert line == "wide.csv, 0 rows, columns: c0, c1, c2, c3, c4, c5, c6, c7 and 99992 more"


def test_prompts_of_pandas_tables_are_unchanged_by_compression(task):
    plain = user(task)
    table = pd.read_csv(task.public_dir / "train.csv")
    table.to_csv(task.public_dir / "train.csv.xz", index=False)
    (task.public_dir / "train.csv").unlink()
    assert user(replace(task, train_file="train.csv.xz")) == re.sub(r"train\.csv\b", "train.csv.xz", plain)


def test_documents_of_any_length_stand_in_tables(task):
    """The csv module refuses cells of more than 131,072 characters unless it is told otherwise."""
    document = "word " * 40_000
    for name in ("train.csv", "test.csv"):
        header, first, *rest = (task.public_dir / name).read_text().splitlines()
        lines = [f"{header},text", f"{first},{document}", *(f"{row},short" for row in rest)]
        (task.public_dir / name).write_text("\n".join(lines) + "\n")
    assert f"test.csv, {len(rest) + 1} rows" in user(task)
    (task.public_dir / "more.csv").write_text(f"a,{document}\n1,2\n")
    assert "more.csv, 1 rows" in user(task)
