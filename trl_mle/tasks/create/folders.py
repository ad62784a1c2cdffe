"""Folders: `train.csv` with a sample submission as Kaggle has it, images with a table of labels, images in a folder per class."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.tasks.assemble import ID_COLUMN
from trl_mle.tasks.create.image_files import ImageFile, check_images, find_images
from trl_mle.tasks.create.kaggle import read_kaggle
from trl_mle.tasks.create.origin import Origin
from trl_mle.tasks.text_table import TextTable, read_text_table

if TYPE_CHECKING:
    import pandas as pd

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet", ".feather")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
_PARTS = frozenset(("train", "training", "test", "testing", "val", "valid", "validation"))
LARGEST_LOSS = 0.1
"""Share of images or labels that may be useless. With more, the folder is probably not what it seems."""
LABEL = "label"
IMAGE = "image"


def read_folder(path: Path, targets: tuple[str, ...], sep: str | None, encoding: str | None) -> Origin:
    """The labelled table of a folder.

    Raises:
        TaskError: the folder holds none, or more than one.
    """
    tables = _tables(path)
    names, links = find_images(path)
    labels = [table for stem, table in tables.items() if stem in ("train", "training") or "label" in stem]
    if names:
        if links:
            raise TaskError(
                f"{path} is a folder with the link {links[0]!r}, and links are not followed; copy the file there."
            )
        if not labels and len(tables) == 1:
            labels = list(tables.values())
        if labels:
            named = next((table for stem, table in tables.items() if "label" in stem), labels[0])
            return _with_labels(path, named, names, targets[0] if targets else None, sep, encoding)
        return _of_folders(path, names)
    train = tables.get("train") or tables.get("training")
    if train is None:
        found = (
            f"; it has {', '.join(map(repr, sorted(table.name for table in tables.values())[:5]))}" if tables else ""
        )
        raise TaskError(
            f"{path} is a folder; give the path of a CSV file, or a folder that has train.csv, or images with labels.csv or in "
            f"one folder per class{found}."
        )
    return read_kaggle(path, train, tables.get("test"), _sample(path, tables), targets, sep, encoding)


def unlabelled_tables(path: Path) -> tuple[Path | None, Path | None]:
    """The test table and the sample submission of a Kaggle folder, each `None` if it is not there.

    Raises:
        TaskError: the folder cannot be read, or has two files for one of them.
    """
    tables = _tables(path)
    return tables.get("test"), _sample(path, tables)


def _sample(path: Path, tables: dict[str, Path]) -> Path | None:
    samples = {stem: table for stem, table in tables.items() if "submission" in stem}
    if any("sample" in stem for stem in samples):
        samples = {stem: table for stem, table in samples.items() if "sample" in stem}
    if len(samples) > 1:
        shown = ", ".join(repr(table.name) for table in samples.values())
        raise TaskError(
            f"{path} is a folder with several submissions: {shown}. Leave the sample submission alone there."
        )
    return next(iter(samples.values()), None)


def _tables(path: Path) -> dict[str, Path]:
    """Tables in the folder by their name without suffixes, in small letters."""
    found: dict[str, Path] = {}
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise TaskError(f"{path} is a folder that cannot be read: {error.strerror}.") from error
    for entry in entries:
        name = entry.name.lower()
        inner = name.removesuffix(next((suffix for suffix in _COMPRESSED if name.endswith(suffix)), ""))
        suffix = os.path.splitext(inner)[1]
        if name.startswith(".") or suffix not in TABLE_SUFFIXES or not entry.is_file():
            continue
        stem = inner.removesuffix(suffix)
        if stem in found:
            raise TaskError(f"{path} is a folder with {found[stem].name!r} and {entry.name!r}; remove one of the two.")
        found[stem] = entry
    return found


def _with_labels(
    path: Path, labels: Path, names: list[str], target: str | None, sep: str | None, encoding: str | None
) -> Origin:
    table = read_text_table(labels, target, sep, encoding)
    column, file_of = _image_column(table, labels, names, target)
    frame = table.frame
    if column == ID_COLUMN:  # the name of the new row ids
        new = IMAGE
        while new in frame.columns:
            new += "_"
        frame, column = frame.rename(columns={column: new}), new
    files = frame[column].str.strip().map(file_of)
    without = files.isna()
    if (files.value_counts() > 1).any():
        twice = files.value_counts().index[0]
        raise TaskError(f"{labels} names the image {twice!r} in more than one row; give each image one row.")
    notes = [*table.notes]
    if without.any():
        shown = frame[column][without].iloc[0]
        _check_loss(int(without.sum()), len(frame), f"{labels}: rows whose image is not in {path}, such as {shown!r}")
        notes.append(f"{int(without.sum())} rows are left out, because their image is not there, such as {shown!r}.")
        frame, files = frame[~without], files[~without]
    if unlabelled := len(names) - len(files):
        notes.append(f"{unlabelled} images without a label are left out.")
    images, frame, more = _checked(path, frame.assign(**{column: files}), column)
    return Origin(path, frame, table.separator, (*notes, *more), image_column=column, images=images)


def _image_column(table: TextTable, labels: Path, names: list[str], target: str | None) -> tuple[str, dict[str, str]]:
    """The column that names images, and the file by each name."""
    by_name: dict[str, str] = {}
    # A file may be named with its folder, without it, or without its suffix. A name of two files is of none.
    for key in (lambda name: name, lambda name: name.rpartition("/")[2], lambda name: Path(name).stem):
        counts = Counter(map(key, names))
        by_name = {key(name): name for name in names if counts[key(name)] == 1} | by_name
    first = table.frame.iloc[:200]
    shares = {
        str(column): float(first[column].str.strip().isin(by_name).mean())
        for column in first.columns
        if column != target
    }
    best = max(shares, key=lambda column: shares[column], default="")
    if not best or shares[best] < 0.5:
        raise TaskError(
            f"no column of {labels} names the images of {labels.parent}, such as {names[0]!r}; add one with their paths."
        )
    return best, by_name


def _of_folders(path: Path, names: list[str]) -> Origin:
    """Images whose folder is their class."""
    import pandas as pd

    parents = [name.split("/")[:-1] for name in names]
    if not all(parents) or {tuple(parent) for parent in parents} <= {(part,) for part in _PARTS}:
        raise TaskError(
            f"{path} is a folder of images without labels; add labels.csv, or put each class into a folder of its own."
        )
    notes = []
    if all(parent[0].lower() in _PARTS and len(parent) > 1 for parent in parents):
        notes.append(
            f"The parts {', '.join(sorted({parent[0] for parent in parents}))} are taken together and divided anew."
        )
        parents = [parent[1:] for parent in parents]
    labels = ["/".join(parent) for parent in parents]
    if len({len(parent) for parent in parents}) > 1:
        raise TaskError(
            f"{path} is a folder of images at different depths, such as {names[0]!r} and {names[-1]!r}; add labels.csv."
        )
    if len(set(labels)) < 2:
        raise TaskError(
            f"{path} is a folder with the images of one class, {labels[0]!r}; give at least two, or add labels.csv."
        )
    frame = pd.DataFrame({IMAGE: names, LABEL: labels}, dtype=str)
    images, frame, more = _checked(path, frame, IMAGE)
    return Origin(
        path,
        frame,
        notes=(*notes, *more),
        targets=(LABEL,),
        reason="the folder of each image",
        image_column=IMAGE,
        images=images,
    )


def _checked(path: Path, frame: pd.DataFrame, column: str) -> tuple[dict[str, ImageFile], pd.DataFrame, list[str]]:
    """The images that can be read, their rows, and what is left out: damaged images, and images that occur twice."""
    images, damaged = check_images(path, frame[column].tolist())
    notes = []
    if damaged:
        name, reason = next(iter(damaged.items()))
        _check_loss(len(damaged), len(frame), f"{path}: damaged images, such as {name!r} ({reason})")
        notes.append(f"{len(damaged)} damaged images are left out, such as {name!r} ({reason}).")
        frame = frame[frame[column].isin(images)]
    frame, more = _without_copies(frame, column, images)
    notes += more
    if len(kinds := {image.suffix for image in images.values()}) > 1:
        notes.append(f"The images are of the kinds {', '.join(sorted(kinds))}. A program sees the kind of each.")
    if ".tif" in kinds:
        notes.append("Tags of TIFF files stay, which may hold places and times.")
    return images, frame, notes


def _without_copies(frame: pd.DataFrame, column: str, images: dict[str, ImageFile]) -> tuple[pd.DataFrame, list[str]]:
    """The rows without those of images that occur before: a picture must not be in both parts."""
    notes = []
    digests = frame[column].map(lambda name: images[name].digest)
    others = frame.drop(columns=column).astype(str).agg("\x1f".join, axis=1)
    differing = others.groupby(digests).transform("nunique") > 1
    if differing.any():
        notes.append(
            f"{int(differing.sum())} images are left out, such as {frame[column][differing].iloc[0]!r}, because equal ones have "
            "another row in the table, and it is not known which is right."
        )
    copies = digests.duplicated(keep="first") & ~differing
    if copies.any():
        notes.append(
            f"{int(copies.sum())} images are left out, such as {frame[column][copies].iloc[0]!r}, because an equal one comes "
            "before."
        )
    return frame[~copies & ~differing], notes


def _check_loss(lost: int, rows: int, what: str) -> None:
    if lost > LARGEST_LOSS * rows:
        raise TaskError(f"{what}: {lost} of {rows}, too many to be left out. Mend the folder.")
