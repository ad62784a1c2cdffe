"""tasks create from folders: Kaggle's files, images with labels, images in a folder per class, and hostile ones."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.errors import TaskError
from trl_mle.tasks import create_task
from trl_mle.tasks.create import Request, image_files, propose
from trl_mle.tasks.create.image_files import find_images, read_image
from trl_mle.tasks.create.image_metadata import DamagedImageError, kind_of_image, without_metadata

ROWS = 120
SECRET = b"the-label-is-cat"


# -- images ---------------------------------------------------------------------------------------------------------


def png(seed: int, **texts: bytes) -> bytes:
    """A picture of 2 x 2 pixels, with chunks of text where given."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = np.random.default_rng(seed).integers(0, 256, (2, 7), dtype=np.uint8)
    pixels[:, 0] = 0
    head = struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), text) for name, text in texts.items())
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", zlib.compress(pixels.tobytes()))
        + chunk(b"IEND", b"")
    )


def jpeg(body: bytes = b"\x12\xff\x00\x34", *segments: tuple[int, bytes]) -> bytes:
    """The structure of a JPEG file: segments, one scan with coded data, the end."""
    parts = [(0xE0, b"JFIF\0" + bytes(9)), *segments, (0xDB, bytes(65))]
    written = b"".join(
        bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content for marker, content in parts
    )
    return b"\xff\xd8" + written + b"\xff\xda" + struct.pack(">H", 8) + bytes(6) + body + b"\xff\xd9"


def gif(comment: bytes = b"") -> bytes:
    noted = b"\x21\xfe" + bytes((len(comment),)) + comment + b"\0" if comment else b""
    image = b"\x2c" + bytes(8) + b"\0" + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + noted + image + b";"


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2) for name, text in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def test_metadata_is_removed_and_the_picture_stays():
    exif = (0xE1, b"Exif\0\0" + SECRET)
    assert without_metadata(jpeg(b"a", exif, (0xFE, SECRET)) + SECRET) == jpeg(b"a")
    assert without_metadata(jpeg(b"a", (0xE2, b"ICC_PROFILE"))) == jpeg(b"a", (0xE2, b"ICC_PROFILE"))
    assert without_metadata(png(1, tEXt=SECRET, eXIf=SECRET, tIME=b"1234567") + SECRET) == png(1)
    assert without_metadata(png(1, gAMA=b"\0\0\0\1")) == png(1, gAMA=b"\0\0\0\1")
    assert without_metadata(gif(SECRET) + SECRET) == gif()
    flags = bytes(9)
    assert without_metadata(webp((b"VP8X", b"\x0c" + flags), (b"VP8 ", b"abc"), (b"EXIF", SECRET))) == webp(
        (b"VP8X", b"\0" + flags), (b"VP8 ", b"abc")
    )


@given(st.data())
def test_cut_or_changed_images_are_damaged_or_clean(data):
    """Any file gives an image without the secret, or an error. Nothing hangs, and a second pass changes nothing."""
    whole = data.draw(
        st.sampled_from(
            [
                jpeg(b"a", (0xE1, SECRET)),
                png(1, tEXt=SECRET),
                gif(SECRET),
                webp((b"VP8 ", b"a"), (b"EXIF", SECRET)),
                b"",
            ]
        )
    )
    changed = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    if changed:
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        clean = without_metadata(bytes(changed))
    except DamagedImageError:
        return
    assert kind_of_image(clean) and without_metadata(clean) == clean


def test_pillow_reads_the_same_pixels():
    image = pytest.importorskip("PIL.Image")
    import io

    picture = image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = image.Exif()
    exif[0x010E] = SECRET.decode()
    for kind, options in (
        ("JPEG", {"exif": exif, "comment": SECRET, "progressive": True}),
        ("PNG", {"exif": exif}),
        ("WEBP", {"exif": exif, "lossless": True}),
        ("GIF", {"comment": SECRET}),
        ("BMP", {}),
    ):
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        data = buffer.getvalue()
        clean = without_metadata(data)
        assert SECRET not in clean and (kind == "BMP" or SECRET in data)
        before, after = (np.asarray(image.open(io.BytesIO(each)).convert("RGB")) for each in (data, clean))
        assert (before == after).all()


@pytest.fixture
def shapes(tmp_path):
    """A folder per class. Names, times and metadata give the class away."""
    folder = tmp_path / "shapes"
    for at in range(ROWS):
        label = ("cat", "dog")[at % 2]
        path = folder / label / f"{label}_{at:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(at, tEXt=label.encode()))
        os.utime(path, (at % 2, at % 2))
    return folder


def test_a_folder_per_class(shapes, tmp_path, caplog):
    task = create_task(shapes, out=tmp_path / "task")
    assert (task.target_column, task.metric, task.prediction_columns) == ("label", "roc_auc", ("cat", "dog"))
    assert "pillow" in task.packages
    train, test = (pd.read_csv(task.public_dir / f"{part}.csv") for part in ("train", "test"))
    assert list(train.columns) == ["id", "image", "label"] and list(test.columns) == ["id", "image"]
    answers = pd.read_csv(task.private_dir / "answers.csv")
    label = {png(at): ("cat", "dog")[at % 2] for at in range(ROWS)}
    known = [*zip(train["image"], train["label"], strict=True), *zip(test["image"], answers["label"], strict=True)]
    assert len(known) == ROWS
    for image, expected in known:
        path = task.public_dir / image
        assert label.pop(path.read_bytes()) == expected
        assert path.name.removesuffix(".png").isdecimal() and path.stat().st_mtime == image_files.COPY_TIME
    written = b"".join(
        path.read_bytes() for path in task.public_dir.rglob("*") if path.is_file() and path.suffix == ".png"
    )
    assert b"cat" not in written and b"dog" not in written
    # The order of the new names says nothing: neither class comes first.
    assert 0 < (train["label"] == "cat").to_numpy()[: len(train) // 2].mean() < 1


def test_images_with_a_table_of_labels(tmp_path, caplog):
    folder = tmp_path / "leaves"
    (folder / "images").mkdir(parents=True)
    rows = []
    for at in range(ROWS):
        (folder / "images" / f"leaf{at}.jpg").write_bytes(jpeg(bytes((at,))))
        rows.append((f"leaf{at}.jpg", at * 0.5, at % 7))
    (folder / "images" / "leaf1.jpg").write_bytes(b"")
    (folder / "images" / "leaf2.jpg").write_bytes(jpeg(bytes((5,))))
    (folder / "images" / "leaf3.jpg").write_bytes(jpeg(bytes((10,))))
    rows[3] = ("leaf3.jpg", *rows[10][1:])
    rows.append(("gone.jpg", 1.0, 1))
    pd.DataFrame(rows, columns=["file", "area", "veins"]).to_csv(folder / "labels.csv", index=False)
    task = create_task(folder, "area", "rmse", tmp_path / "task")
    train = pd.read_csv(task.public_dir / "train.csv")
    assert list(train.columns) == ["id", "image", "veins", "area"]
    for words in (
        "1 rows are left out, because their image is not there",
        "1 damaged images",
        "'images/leaf1.jpg' (empty)",
        "2 images are left out, such as 'images/leaf2.jpg', because equal ones have another row",
        "1 images are left out, such as 'images/leaf10.jpg', because an equal one comes before",
    ):
        assert words in caplog.text
    for image, area in zip(train["image"], train["area"], strict=True):
        assert (task.public_dir / image).read_bytes() == jpeg(bytes((int(area * 2),)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "cat/link.png").symlink_to("/etc/passwd"), "link 'cat/link.png'"),
        (lambda f: (f / "top.png").write_bytes(png(999)), "without labels"),
        (lambda f: [p.write_bytes(b"") for p in (f / "cat").iterdir()], "too many to be left out"),
        (lambda f: [p.unlink() for p in (f / "cat").iterdir()], "images of one class, 'dog'"),
        (lambda f: os.mkfifo(f / "cat/pipe.png"), None),
    ],
)
def test_odd_folders_are_named_and_leave_nothing(shapes, tmp_path, change, message, caplog):
    change(shapes)
    if message is None:  # a pipe is not waited for
        create_task(shapes, out=tmp_path / "task")
        assert "1 damaged images are left out, such as 'cat/pipe.png' (not a regular file)" in caplog.text
        return
    with pytest.raises(TaskError, match=message):
        create_task(shapes, out=tmp_path / "task")
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


def test_labels_never_lead_out_of_the_folder(shapes, tmp_path):
    (tmp_path / "secret.png").write_bytes(png(5))
    names = [path.relative_to(shapes).as_posix() for path in sorted(shapes.rglob("*.png"))]
    rows = [
        *((name, "a" if at % 2 else "b") for at, name in enumerate(names)),
        ("../secret.png", "a"),
        ("/etc/passwd", "b"),
    ]
    pd.DataFrame(rows, columns=["file", "kind"]).to_csv(shapes / "labels.csv", index=False)
    task = create_task(shapes, "kind", "accuracy", tmp_path / "task")
    assert len([*task.public_dir.rglob("*.png")]) == ROWS


def test_an_image_that_changes_meanwhile_leaves_no_task(shapes, tmp_path, monkeypatch):
    reads = []

    def changing(path):
        reads.append(path)
        if len(reads) == ROWS + 10:
            path.write_bytes(png(1234))
        return read_image(path)

    monkeypatch.setattr(image_files, "read_image", changing)
    with pytest.raises(TaskError, match="changed while the task was made"):
        create_task(shapes, out=tmp_path / "task")
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]


def test_too_many_files_are_not_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MOST_ENTRIES", 5)
    for at in range(6):
        (tmp_path / f"{at}.png").touch()
    with pytest.raises(TaskError, match="is a folder with more than 5 files"):
        find_images(tmp_path)


# -- Kaggle ---------------------------------------------------------------------------------------------------------


def kaggle(
    folder: Path, train: pd.DataFrame, test: pd.DataFrame | None = None, sample: pd.DataFrame | None = None
) -> Path:
    folder.mkdir()
    for name, frame in (("train", train), ("test", test), ("sample_submission", sample)):
        if frame is not None:
            frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture
def people() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {"PassengerId": range(1, 201), "fare": rng.gamma(2, 20, 200).round(2), "deck": rng.choice(list("ABC"), 200)}
    )
    return frame[:150].reset_index(drop=True), frame[150:].reset_index(drop=True)


@pytest.mark.parametrize(
    ("labels", "predictions", "metric", "columns"),
    [
        ({"Survived": [0, 1] * 75}, {"Survived": [0, 1] * 25}, "accuracy", ("Survived",)),
        ({"Survived": [0, 1] * 75}, {"Survived": [0.5] * 50}, "roc_auc", ("Survived",)),
        ({"Transported": [True, False] * 75}, {"Transported": [False] * 50}, "accuracy", ("Transported",)),
        (
            {"kind": ["b", "a", "c"] * 50},
            {"c": [0.3] * 50, "a": [0.3] * 50, "b": [0.4] * 50},
            "log_loss",
            ("c", "a", "b"),
        ),
        (
            {"kind": [1.0, 0.0, 2.0] * 50},
            {"2": [0.3] * 50, "0": [0.3] * 50, "1": [0.4] * 50},
            "log_loss",
            ("2", "0", "1"),
        ),
        ({"cost": np.arange(150) / 7}, {"predicted": [0] * 50}, "rmse", ("predicted",)),
        (
            {"e1": np.arange(150) / 7, "e2": np.arange(150)[::-1] / 9},
            {"e2": [0] * 50, "e1": [0] * 50},
            "rmse",
            ("e2", "e1"),
        ),
    ],
)
def test_the_form_of_the_sample_submission_is_kept(people, tmp_path, labels, predictions, metric, columns):
    rng = np.random.default_rng(0)
    order = rng.permutation(150)
    train, test = people
    labels = {name: np.asarray(values)[order] for name, values in labels.items()}
    folder = kaggle(tmp_path / "k", train.assign(**labels), test, test[["PassengerId"]].assign(**predictions))
    task = create_task(folder, out=tmp_path / "task")
    assert (task.metric, task.id_column, task.prediction_columns) == (metric, "PassengerId", columns)
    sample = pd.read_csv(task.public_dir / "sample_submission.csv")
    assert list(sample.columns) == ["PassengerId", *columns] and len(sample) == 45
    assert task.grade(task.public_dir / "sample_submission.csv", "all").valid
    # New ids: the old ones can be known from elsewhere, with their answers.
    own = pd.read_csv(task.public_dir / "train.csv").merge(train, on="PassengerId")
    assert not np.allclose(own["fare_x"], own["fare_y"])


def test_a_date_that_names_the_rows_of_a_sample_is_asked_about(people, tmp_path):
    rng = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=200).strftime("%Y-%m-%d")
    train, test = (each.drop(columns="PassengerId") for each in people)
    train, test = train.assign(day=days[:150], sold=rng.normal(size=150)), test.assign(day=days[150:])
    folder = kaggle(tmp_path / "k", train, test, test[["day"]].assign(sold=0))
    with pytest.raises(TaskError, match=r"in the order of column 'day'.*--split time:day"):
        create_task(folder, out=tmp_path / "task")
    proposal = propose(folder, Request.of(split="time:day"))
    assert any(
        "Column 'day' holds dates, and no program gets it, because new row ids" in note for note in proposal.notes
    )
    assert propose(folder, Request.of(split="time:day", id_column="row")).left_out == {}


def test_rows_without_a_label_and_ids_called_split(people, tmp_path):
    train, test = (each.rename(columns={"PassengerId": "split"}) for each in people)
    sample = test[["split"]].assign(x=0.5, y=0.5)
    folder = kaggle(tmp_path / "k", train.assign(kind=["x", "y", *["x", "y", "y"] * 49, None]), test, sample)
    with pytest.raises(TaskError, match=r"1 of 150 rows has no value in column 'kind'.*--drop-missing-targets"):
        create_task(folder, out=tmp_path / "task")
    with pytest.raises(TaskError, match=r"row ids cannot be called 'split'.*--id row"):
        create_task(folder, out=tmp_path / "task", drop_missing_targets=True)


def test_a_kaggle_folder_without_a_sample(people, tmp_path):
    train, test = people
    folder = kaggle(tmp_path / "k", train.assign(cost=np.random.default_rng(0).normal(size=150)), test)
    assert create_task(folder, out=tmp_path / "task").target_column == "cost"


def test_what_a_kaggle_folder_leaves_open_is_said(people, tmp_path, caplog):
    train, test = people
    rng = np.random.default_rng(0)
    two = train.assign(casual=rng.integers(0, 999, 150), count=rng.integers(0, 999, 150))
    sample = test[["PassengerId"]].assign(x=0, y=0)
    with pytest.raises(
        TaskError, match=r"neither columns of train.csv nor the classes of one.*--target.*'casual', 'count'"
    ):
        create_task(kaggle(tmp_path / "a", two, test, sample), out=tmp_path / "task")
    task = create_task(
        kaggle(tmp_path / "b", two, test, sample[["PassengerId"]].assign(count=0)), out=tmp_path / "task"
    )
    assert "casual" not in pd.read_csv(task.public_dir / "train.csv").columns
    assert "Columns that test.csv does not have are left out: 'casual'" in caplog.text
    with pytest.raises(TaskError, match=r"test.csv holds the target 'fare'"):
        create_task(kaggle(tmp_path / "c", train, test, test[["PassengerId", "fare"]]), out=tmp_path / "task2")


def test_another_target_than_that_of_the_sample_has_its_own_name(people, tmp_path):
    train, test = people
    rng = np.random.default_rng(0)
    two = train.assign(casual=rng.integers(0, 999, 150), count=rng.integers(0, 999, 150))
    folder = kaggle(tmp_path / "k", two, test, test[["PassengerId"]].assign(count=0))
    assert create_task(folder, "casual", "mae", tmp_path / "task").prediction_columns == ("casual",)


@pytest.mark.parametrize("drop", [(), ("casual",)])
def test_what_test_rows_lack_is_left_out_beside_a_target_that_is_found(people, tmp_path, caplog, drop):
    train, test = people
    rng = np.random.default_rng(0)
    train = train.assign(casual=rng.integers(0, 999, 150), registered=rng.integers(0, 999, 150))
    folder = kaggle(tmp_path / "k", train.assign(sales=train["casual"] + train["registered"]), test)
    task = create_task(folder, out=tmp_path / "task", drop=drop)
    assert list(pd.read_csv(task.public_dir / "train.csv").columns) == ["id", "fare", "deck", "sales"]
    assert "Columns that test.csv does not have are left out: 'casual', 'registered'." in caplog.text


def test_nothing_is_said_to_be_left_out_before_the_target_is_known(people, tmp_path):
    train, test = people
    proposal = propose(kaggle(tmp_path / "k", train.assign(a=train["fare"], b=train["fare"]), test), Request.of())
    assert proposal.questions and not any("left out" in note for note in proposal.origin.notes)
