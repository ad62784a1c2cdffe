"""Images in a task: new names in the order of the new ids, in `public/train/` and `public/test/`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.tasks.assemble import TaskTables
from trl_mle.tasks.create.image_files import COPY_TIME, ImageFile, copy_image
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    import pandas as pd

    from trl_mle.tasks.create.origin import Origin

IMAGE_COLUMN = "image"
PARTS = ("train", "test")
IMAGE_PACKAGE = "pillow"
"""Distribution that programs of a task with images may import as well."""


def packages_for(origin: Origin) -> tuple[str, ...]:
    """Distributions that the programs of the task may import."""
    return (*TaskSpec.packages, IMAGE_PACKAGE) if origin.image_column else TaskSpec.packages


def name_images(tables: TaskTables, origin: Origin) -> tuple[TaskTables, dict[str, ImageFile], str | None]:
    """Give each image a new name, its row's id, so that neither its name nor its place says anything.

    Returns:
        `(TaskTables, dict, str)`: the tables, whose column of images holds paths relative to `public/`, the image at each path,
            and the name of that column.
    """
    old = origin.image_column
    if old is None:
        return tables, {}, None
    placed: dict[str, ImageFile] = {}
    frames: dict[str, pd.DataFrame] = {}
    new = IMAGE_COLUMN
    while new != old and new in tables.train.columns:
        new += "_"
    for part, frame in zip(PARTS, (tables.train, tables.test), strict=True):
        images = [origin.images[name] for name in frame[old]]
        paths = [f"{part}/{id_}{image.suffix}" for id_, image in zip(frame.iloc[:, 0], images, strict=True)]
        placed.update(zip(paths, images, strict=True))
        frames[part] = frame.assign(**{old: paths}).rename(columns={old: new})
    return replace(tables, train=frames["train"], test=frames["test"]), placed, new


def write_images(folder: Path, placed: Mapping[str, ImageFile]) -> None:
    """Copy the images into `public/` of the task folder, without metadata.

    Raises:
        TaskError: an image has changed since it was checked.
    """
    for part in PARTS if placed else ():
        (folder / "public" / part).mkdir(mode=0o755)
    for path, image in placed.items():
        copy_image(image, folder / "public" / path)
    for part in PARTS if placed else ():
        os.utime(folder / "public" / part, (COPY_TIME, COPY_TIME))
