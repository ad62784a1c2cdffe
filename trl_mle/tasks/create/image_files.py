"""Files of images in a user's folder: found without following links, read once to be checked and once to be copied."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks.create.image_metadata import DamagedImageError, kind_of_image, without_metadata

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"))
DEEPEST = 4
"""Folders below the given one that are searched, such as `images/train/cats/large`."""
MOST_ENTRIES = 300_000
"""Most files and folders that are looked at."""
MOST_IMAGE_BYTES = 64 * 1024**2
"""Largest image, in bytes."""
MOST_BYTES = 4 * 1024**3
"""Most bytes of all images together."""
_OF_KIND = {"jpeg": ".jpg", "png": ".png", "gif": ".gif", "webp": ".webp", "bmp": ".bmp", "tiff": ".tif"}


@dataclass(frozen=True)
class ImageFile:
    """An image that was read and can be copied."""

    path: Path
    suffix: str
    """Suffix of its real kind, whatever its name says."""
    digest: bytes
    """SHA-256 of the image without metadata: equal images have one."""


def find_images(folder: Path) -> tuple[list[str], list[str]]:
    """Relative paths of the images below `folder`, in order, and of all links. Hidden files are left out.

    Raises:
        TaskError: the folder holds too many files, or cannot be read.
    """
    images: list[str] = []
    links: list[str] = []
    seen = 0
    open_folders = [("", 0)]
    while open_folders:
        inside, depth = open_folders.pop()
        try:
            with os.scandir(folder / inside) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_ENTRIES:
                        raise TaskError(
                            f"{folder} is a folder with more than {MOST_ENTRIES} files; give one with the data alone."
                        )
                    name = f"{inside}/{entry.name}" if inside else entry.name
                    if entry.name.startswith((".", "__MACOSX")):
                        continue
                    if entry.is_symlink():
                        links.append(name)
                    elif entry.is_dir(follow_symlinks=False):
                        if depth < DEEPEST:
                            open_folders.append((name, depth + 1))
                    elif Path(entry.name).suffix.lower() in SUFFIXES:
                        images.append(_readable(name, folder))
        except OSError as error:
            raise TaskError(
                f"{folder} is a folder, but {folder / inside} cannot be read: {error.strerror}."
            ) from error
    return sorted(images), sorted(links)


def _readable(name: str, folder: Path) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TaskError(f"{folder} is a folder with the name {name!r}, which is not UTF-8; rename it.") from error
    return name


def read_image(path: Path) -> bytes:
    """The image without metadata.

    Raises:
        DamagedImageError: it is empty, damaged, too large, or no regular file.
        TaskError: it cannot be read.
    """
    try:
        # Neither a link that took the file's place nor a pipe is opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DamagedImageError("not a regular file")
            data = file.read(MOST_IMAGE_BYTES + 1)
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MOST_IMAGE_BYTES:
        raise DamagedImageError(f"larger than {MOST_IMAGE_BYTES // 1024**2} MiB")
    return without_metadata(data)


def check_images(folder: Path, names: list[str]) -> tuple[dict[str, ImageFile], dict[str, str]]:
    """The images that can be read, and why the others cannot, by their relative path.

    Raises:
        TaskError: a file cannot be read, or all together are too large.
    """
    images: dict[str, ImageFile] = {}
    damaged: dict[str, str] = {}
    total = 0
    for name in names:
        try:
            data = read_image(folder / name)
        except DamagedImageError as error:
            damaged[name] = str(error)
            continue
        total += len(data)
        if total > MOST_BYTES:
            raise TaskError(
                f"{folder} is a folder with more than {MOST_BYTES // 1024**3} GiB of images; give fewer or smaller ones."
            )
        suffix = _OF_KIND[str(kind_of_image(data))]
        images[name] = ImageFile(folder / name, suffix, hashlib.sha256(data).digest())
    return images, damaged


def copy_image(image: ImageFile, target: Path) -> None:
    """Write the image without metadata to the new file `target`, with a time that says nothing.

    Raises:
        TaskError: the file has changed since it was checked.
    """
    try:
        data = read_image(image.path)
    except DamagedImageError:
        data = b""
    if hashlib.sha256(data).digest() != image.digest:
        raise TaskError(f"{image.path} changed while the task was made; try again when nothing writes to it.")
    target.write_bytes(data)
    target.chmod(0o444)
    os.utime(target, (COPY_TIME, COPY_TIME))


COPY_TIME = 946_684_800
"""Time of each copy, in seconds since 1970: 1 January 2000."""
