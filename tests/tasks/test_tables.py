"""create_task on tables as people have them: each becomes a task, or an error that names the line, the value and the option."""

import bz2
import gzip
import io
import json
import logging
import lzma
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from trl_mle.errors import TaskError
from trl_mle.grading.values import MISSING_WORDS
from trl_mle.prompts import build_prompt
from trl_mle.rewards.score_transform import transform_score
from trl_mle.tasks import create_task, load_task

ROWS = 60


def rows(line, head="x,y\n") -> str:
    return head + "".join(line(i) + "\n" for i in range(ROWS))


@pytest.fixture
def create(tmp_path):
    def create(content: str | bytes, target="y", metric="rmse", name="d.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        out = options.pop("out", tmp_path / "task")
        try:
            task = create_task(path, target, metric, out, **options)
        except TaskError:
            # Whatever fails leaves nothing behind.
            assert [left.name for left in tmp_path.iterdir()] == [name]
            raise
        # The constant submission is worth what the docs say.
        grade = task.grade(task.public_dir / "sample_submission.csv", "all")
        assert transform_score(grade.score, task.direction, task.transform) == pytest.approx(-0.5, abs=1e-6)
        return pd.read_csv(task.public_dir / "train.csv"), task

    return create


PLAIN = rows(lambda i: f"{i % 7},{i}")


# -- words for missing values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", sorted(MISSING_WORDS))
def test_a_class_with_a_missing_word_is_asked_about(create, word):
    table = rows(lambda i: f"{i % 7},{(word, 'Mild', 'Severe')[i % 3]}")
    with pytest.raises(
        TaskError, match=r"20 of 60 rows.*line 2.*--keep-missing-words.*--drop-missing-targets"
    ) as error:
        create(table, metric="accuracy")
    assert repr(word) in str(error.value)


def test_a_missing_word_is_kept_under_a_name_that_pandas_reads(create):
    table = rows(lambda i: f"{i % 7},{('None', 'None_', 'Severe', '')[i % 4]}")
    train, task = create(table, metric="log_loss", keep_missing_words=True, drop_missing_targets=True)
    assert set(train["y"]) == set(task.prediction_columns) == {"None__", "None_", "Severe"}


def test_missing_targets_are_counted_and_dropped(create, caplog):
    table = rows(lambda i: f"{i % 7},{('', 'NA', '?')[i] if i < 3 else i}")
    with pytest.raises(TaskError, match=r"3 of 60 rows have no value.*line 2 is empty.*--drop-missing-targets"):
        create(table)
    train, _ = create(table, drop_missing_targets=True)
    assert len(train) == 40 and train["y"].dtype == "int64"
    assert "3 of 60 rows have no target and are left out" in caplog.text


def test_a_dash_and_a_question_mark_are_classes(create):
    train, _ = create(rows(lambda i: f"{i % 7},{'-?'[i % 2]}"), metric="accuracy")
    assert set(train["y"]) == {"-", "?"}


def test_missing_words_in_features_are_written_as_they_are_and_named(create):
    _, task = create(rows(lambda i: f"{('None', 'a', 'b')[i % 3]},{i}"))
    assert "takes 'None' in `x` for missing values unless `keep_default_na=False`" in task.description
    train = pd.read_csv(task.public_dir / "train.csv", keep_default_na=False)
    assert set(train["x"]) == {"None", "a", "b"}


def test_booleans_have_the_form_in_which_pandas_writes_them(create):
    _, task = create(rows(lambda i: f"{i % 7},{('TRUE', 'false')[i % 2]}"), metric="accuracy")
    submission = pd.read_csv(task.public_dir / "sample_submission.csv").assign(y=True).to_csv(index=False)
    assert 0 < task.grade(submission.encode(), "all").score < 1


# -- the form of the table ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        (rows(lambda i: f"{i % 7},{i},"), ["x", "y"]),
        (rows(lambda i: f"{i % 7},{i},", "x,y,\n"), ["x", "y"]),
        (rows(lambda i: f"{i},{i % 7},{i}", ",x,y\n"), ["x", "y"]),
        (rows(lambda i: f"{i},{i},{i % 7},{i}", "Unnamed: 0.1,Unnamed: 0,x,y\n"), ["x", "y"]),
        (rows(lambda i: f"{i % 3},{i % 7},{i}", "Unnamed: 0,x,y\n"), ["Unnamed: 0", "x", "y"]),
        (rows(lambda i: f"{i % 7},  {i}", " x\t, y\n"), ["x", "y"]),
        (rows(lambda i: f"{i % 7},{i}", '\ufeff"x\u200b",y\n'), ["x", "y"]),
        (rows(lambda i: f"{i % 7},{i}", '"a\n""b""","y"\n'), ['a "b"', "y"]),
        (rows(lambda i: f"{i % 7},{i}", "# x, y of 2020\n\n#y\nx,y\n"), ["x", "y"]),
        (PLAIN + ",\n,\n", ["x", "y"]),
        (PLAIN.replace("\n", "\r"), ["x", "y"]),
        (rows(lambda i: f"{i % 7};{i}", "sep=;\nx;y\n"), ["x", "y"]),
        (rows(lambda i: f"{i % 7};{i}", '"sep=;"\nx;y\n'), ["x", "y"]),
        (rows(lambda i: f"{i % 7}\t{i}", "sep=\t\r\nx\ty\n"), ["x", "y"]),
        (rows(lambda i: f"{i % 7}\t{i}", "x\ty\n"), ["x", "y"]),
        (rows(lambda i: f"{i % 7}|{i}", "x|y\n"), ["x", "y"]),
        (rows(lambda i: f"  {i % 7}   {i}", "  x y\n"), ["x", "y"]),
    ],
)
def test_columns_stay_where_they_belong(create, table, columns):
    train, task = create(table)
    assert list(train.columns) == ["id", *columns]
    test = pd.read_csv(task.public_dir / "test.csv")
    answers = pd.read_csv(task.private_dir / "answers.csv")
    together = pd.concat([train, test.merge(answers, on="id")])
    assert sorted(together["y"]) == list(range(ROWS))
    name = columns[-2]
    assert ((together["y"] % 7) == together[name]).all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (PLAIN + "1,2,3\n", r"line 62 of .* has 3 cells \('1', '2', '3'\), but the header has 2 columns"),
        (PLAIN + "1\n", "line 62 of .* has 1 cells"),
        (rows(lambda i: f"r{i},{i % 7},{i}"), "line 2 of .* has 3 cells"),
        (rows(lambda i: f"{i % 3},{i % 7},{i}", "x,,y\n"), "column 2 of .* has no name"),
        (rows(lambda i: f"{i % 3},{i % 7},{i}", "x,y,y \n"), "columns 2 and 3 of .* are both called 'y'"),
        (rows(lambda i: f"{i % 3},{i}", ""), "The first line looks like data"),
        (rows(lambda i: f"{i % 3}^{i}", "x^y\n"), "--sep"),
        (rows(lambda i: f"{i % 3},{i}", "x,Y\n"), "Did you mean 'Y'"),
        ("x,y\n", "header but no rows"),
        ("\n\n", "is empty"),
        (PLAIN.replace("5,5\n", '5,"5\n'), "line .* is not CSV: unexpected end of data"),
        (PLAIN.replace("5,5\n", "5,5\0\n"), "NUL character in line 7"),
        (
            rows(lambda i: f"{i % 7},{'inf' if i == 5 else i}"),
            "finite numbers, but column 'y' of d.csv holds 'inf' in line 7",
        ),
        (rows(lambda i: f"{i % 7},{'oops' if i == 5 else i}"), "holds 'oops' in line 7"),
        (rows(lambda i: f"{i % 7},2020-01-{i % 28 + 1:02d}"), "'2020-01-01' in line 2, a date or a time"),
        (rows(lambda i: f"{i % 7},t{i}") * 4, "holds 't0' in line 2"),
        (rows(lambda i: f"{i},{i}", "x,id\n"), "no column 'y'"),
        (PLAIN.replace("x", "größe").encode("latin-1"), "byte 0xf6 in line 1; name its encoding with `--encoding`"),
        (PLAIN.encode("utf-16-le"), "--encoding utf-16-le"),
        (gzip.compress(PLAIN.encode()), "compressed by gzip"),
        (b"\xfd7zXZ\x00\x00", "compressed by xz"),
        (b"SQLite format 3\x00" + bytes(90), "a SQLite database"),
        (b"a.csv" + bytes(252) + b"ustar" + bytes(600), "a tar archive"),
        (b"\x93NUMPY\x01\x00" + bytes(90), "a NumPy array"),
        (rows(lambda i: f"{i % 7},{i}e200"), "too large"),
        (rows(lambda i: f"{i % 7},{i}e-200"), "smaller unit"),
    ],
)
def test_what_cannot_be_read_is_named(create, table, message):
    with pytest.raises(TaskError, match=message):
        create(table)


@pytest.mark.parametrize(
    ("name", "pack"),
    [("d.csv.gz", gzip.compress), ("d.csv.bz2", bz2.compress), ("d.csv.xz", lzma.compress)],
)
def test_compressed_tables(create, name, pack):
    data = pack(PLAIN.encode())
    with pytest.raises(TaskError, match="cannot be read"):
        create(data[:-30], name=name)
    assert len(create(data, name=name)[0]) == 42


def test_archives_and_tables_of_other_formats(create, tmp_path):
    frame = pd.read_csv(io.StringIO(PLAIN))
    frame.to_parquet(buffer := io.BytesIO())
    assert len(create(buffer.getvalue(), name="d.parquet", out=tmp_path / "a")[0]) == 42
    (tmp_path / "d.parquet").unlink()
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.writestr("d.csv", PLAIN)
        archive.writestr(".DS_Store", "")
    assert len(create(buffer.getvalue(), name="d.zip", out=tmp_path / "b")[0]) == 42


def test_texts_of_other_formats_stay_in_their_cells(create):
    frame = pd.read_csv(io.StringIO(PLAIN)).assign(text='a\rb,\n"c', part=[None, 0.5] * 30, true=[True, False] * 30)
    frame.to_parquet(buffer := io.BytesIO())
    train, _ = create(buffer.getvalue(), name="d.parquet")
    assert (
        set(train["text"]) == {'a\nb,\n"c'}
        and set(train["part"].dropna()) == {0.5}
        and set(train["true"]) == {True, False}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [({"text": "a\0b"}, "NUL character in line 2"), ({"text": "repeated" * 20}, "more than 0 MiB")],
)
def test_a_table_of_another_format_has_the_limits_of_a_text(create, monkeypatch, change, message):
    monkeypatch.setattr("trl_mle.tasks.table_file.MAX_TABLE_BYTES", 9000)
    pd.read_csv(io.StringIO(PLAIN)).assign(**change).to_parquet(buffer := io.BytesIO())
    with pytest.raises(TaskError, match=message):
        create(buffer.getvalue(), name="d.parquet")


@pytest.mark.parametrize(
    ("value", "kind"), [([0.1] * 2000, "lists"), ({"a": 1}, "records"), (b"\x89PNG", "bytes"), (["a"], "lists")]
)
def test_columns_without_single_values_are_left_out(create, caplog, value, kind):
    frame = pd.read_csv(io.StringIO(PLAIN)).assign(image=pd.Series([None, *[value] * (ROWS - 1)]))
    frame.to_parquet(buffer := io.BytesIO())
    assert list(create(buffer.getvalue(), name="d.parquet")[0].columns) == ["id", "x", "y"]
    assert f"Column 'image' holds {kind}" in caplog.text


@pytest.mark.parametrize("name", ["d.csv", "d.parquet", "d.csv.gz"])
def test_a_stub_of_git_lfs_is_no_table(create, name):
    with pytest.raises(TaskError, match="git lfs pull"):
        create("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", target=None, name=name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("d.json", "read_json"),
        ("d.NDJSON", "lines=True"),
        ("d.tar.gz", "unpack it"),
        ("d.zst", "unpack it"),
        ("d.sav", "as CSV"),
        ("d.pickle", "read_pickle"),
        ("d.xlsx", "excel|cannot be read"),
        ("d.zip", "zip"),
        ("d.arff", "as CSV"),
    ],
)
def test_files_that_are_not_what_their_names_say(create, name, message):
    with pytest.raises(TaskError, match=message):
        create(PLAIN, name=name)


@pytest.mark.parametrize(
    ("encoding", "options"), [("utf-16", {}), ("utf-32", {}), ("utf-8-sig", {}), ("cp1252", {"encoding": "cp1252"})]
)
def test_encodings(create, encoding, options):
    train, _ = create(PLAIN.replace("x", "größe").encode(encoding), **options)
    assert list(train.columns) == ["id", "größe", "y"]


@pytest.mark.parametrize(("written", "named"), [("utf-16", "utf-8"), ("utf-8-sig", "cp1252"), ("utf-32", "utf-16")])
def test_an_encoding_that_the_first_bytes_contradict_is_named(create, written, named):
    with pytest.raises(
        TaskError, match=rf"encoding is '{named}' \(`--encoding`\), but the first bytes .* say {written}"
    ):
        create(PLAIN.encode(written), encoding=named)
    assert len(create(PLAIN.encode("utf-16"), encoding="utf-16-le")[0]) == 42


def test_digits_of_other_scripts_are_classes(create):
    train, task = create(rows(lambda i: f"{i % 7}," + "\uff11\uff12"[i % 2]), metric="log_loss")
    assert set(train["y"].astype(str)) == set(task.prediction_columns) == {"\uff11", "\uff12"}


def test_decimal_commas_between_commas_are_asked_about(create, caplog):
    create(rows(lambda i: f'"{i % 7},5",{i}'))
    assert "Column 'x' holds values such as '0,5', which programs read as text. Write `--decimal ,`" in caplog.text


def test_decimal_commas_become_points(create, caplog):
    train, _ = create(rows(lambda i: f"{i % 7},5;{i},25;a,b", "x;y;z\n"))
    assert train["x"].dtype == train["y"].dtype == "float64" and set(train["z"]) == {"a,b"}
    assert "Decimal commas" in caplog.text or "decimal comma" in caplog.text


def test_cells_of_features_stay_as_they_are_written(create):
    _, task = create(rows(lambda i: f'"00{i % 7}\r\n1.10 ",{2**53 + i}'), metric="mae")
    text = (task.public_dir / "train.csv").read_text()
    assert '"000\n1.10 "' in text and "\r" not in text
    assert set(pd.read_csv(task.public_dir / "train.csv")["y"]) <= {2**53 + i for i in range(ROWS)}


@pytest.mark.parametrize("scale", [1e-140, 5e-5, 1.0, 1e9, 1e140])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6])
@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_the_sample_is_the_mean_at_any_scale(create, scale, offset, metric):
    train, task = create(rows(lambda i: f"{i % 7},{(offset + i % 9) * scale!r}"), metric=metric)
    sample = pd.read_csv(task.public_dir / "sample_submission.csv")["y"]
    assert sample.nunique() == 1 and sample[0] == pytest.approx(train["y"].mean(), rel=1e-12, abs=0)


def test_a_copy_of_the_target_is_warned_of(create, caplog):
    create(rows(lambda i: f"{i},{i}"))
    assert "'x' equals the target" in caplog.text


# -- options and paths --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (name, value)
        for name in ("time_limit_s",)
        for value in (0, -1, float("nan"), float("inf"), "a", True, 10**400, 1e9)
    ]
    + [(name, value) for name in ("test_fraction", "public_fraction") for value in (0, 1, "x", float("nan"), 0.001)]
    + [
        ("seed", -1),
        ("seed", 1.5),
        ("decimal", ";"),
        ("sep", "::"),
        ("encoding", "klingon"),
        ("out", ""),
        ("out", "a\0b"),
        ("out", "\ud800"),
        ("out", 5),
        ("sep", ["a"]),
        ("description", 5),
    ],
)
def test_every_option_is_named(create, option, value):
    with pytest.raises(TaskError, match=f"--{option.replace('_', '-')}") as error:
        create(PLAIN, **{option: value})
    assert "preparing-" not in str(error.value)


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("https://a.invalid/x.csv", r"^https://a\.invalid/x\.csv is an address"),
        (Path("https://a.invalid/x.csv"), r"^https://a\.invalid/x\.csv is an address"),
        ("hf://datasets/x.csv", "is an address"),
        ("~/none.csv", r"^/.*none\.csv does not exist"),
        ("~nobody-of-this-name/x.csv", "cannot be read"),
        ("n" * 5000, "cannot be read|does not exist"),
        ("/", "is a folder"),
        ("/dev/null", "not a regular file"),
        (None, "--csv"),
    ],
)
def test_every_path_is_named(tmp_path, csv, message):
    with pytest.raises(TaskError, match=message):
        create_task(csv, "y", "rmse", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_of_the_user_is_replaced_or_left(create, tmp_path):
    (out := tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(TaskError, match="exists already"):
        create_task(tmp_path / "d.csv", "y", "rmse", out)
    out.unlink()
    with pytest.raises(TaskError, match="as good as a perfect one"):
        create(rows(lambda i: f"{i % 7},{'b' if i == 5 else 'a'}"), metric="accuracy", out=tmp_path / "a" / "b")


def test_many_classes_need_no_warning(create, recwarn):
    _, task = create(PLAIN + rows(lambda i: f"{i % 7},{i}", "") * 9, metric="log_loss")
    assert len(task.prediction_columns) == 60 and not recwarn.list


def test_text_that_no_file_holds_is_replaced(create):
    _, task = create(PLAIN, description="a\ud800", title="b\ud800")
    assert task.description == "a?" and json.dumps(build_prompt(task), ensure_ascii=False).encode()


def test_odd_names_reach_the_files_unchanged(create):
    options = {"title": 'a: "b" # {{ c }}\n../d', "description": "  "}
    train, task = create(
        rows(lambda i: f"{i % 7},{i}", "x,\": # 'y'\"\n"), target=": # 'y'", name="ü: #'.csv", **options
    )
    assert task.title == 'a: "b" # {{ c }} ../d' and ": # 'y'" in train.columns


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "n" * 5000, "a\0b"])
def test_names_of_tasks_that_no_path_can_have(name):
    with pytest.raises(TaskError, match="there is no task"):
        load_task(name)


def test_a_row_of_another_length_in_a_task_folder_is_named(create):
    _, task = create(PLAIN)
    (path := task.public_dir / "test.csv").chmod(0o644)
    path.write_text(path.read_text() + "1,2,3,4\n")
    with pytest.raises(TaskError, match=r"line 20 of .*test\.csv has 4 cells"):
        load_task(task.folder)


@pytest.fixture(autouse=True)
def _notes_are_captured(caplog):
    caplog.set_level(logging.WARNING)


@pytest.mark.parametrize(
    ("labels", "outcome"),
    [
        (("01", "1", "2"), "'01' in line 2 and '1' in line 3, which programs read as one number"),
        (("007", "008"), "Labels such as '007' are written as whole numbers"),
        (("1", "1.0", "2"), None),
        (("1e5", "100000", "2"), "'1e5' in line 2 and '100000' in line 3, which programs read as one number"),
        (("1E2", "3e1"), "Labels such as '1E2' are written as whole numbers (100)"),
    ],
)
def test_leading_zeros_of_labels_are_never_lost_in_silence(tmp_path, caplog, labels, outcome):
    file = tmp_path / "d.csv"
    file.write_text("x,y\n" + "".join(f"{i % 7},{labels[i % len(labels)]}\n" for i in range(60)))
    try:
        create_task(file, "y", "accuracy", tmp_path / "task")
    except TaskError as error:
        said = str(error)
    else:
        said = caplog.text
    assert (outcome in said) if outcome else ("whole numbers" not in said)


def test_fractions_of_three_digits_are_no_thousands(tmp_path):
    file = tmp_path / "d.csv"
    file.write_text("x;y\n" + "".join(f"0,{123 + i};{i % 2}\n" for i in range(60)))
    create_task(file, "y", "accuracy", tmp_path / "task")
    assert pd.read_csv(tmp_path / "task/public/train.csv")["x"].between(0.12, 0.19).all()
