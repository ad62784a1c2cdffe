"""Copies a competition's public files into a task folder, without what gives answers away.

The originals are never written. Archives are unpacked where they lie, so that a program finds files. A file that equals a private
table is left out.
"""

from __future__ import annotations

import filecmp
import json
import logging
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks.mlebench.data_dir import PreparedData

logger = logging.getLogger(__name__)

LINKED_FROM_BYTES = 2 * 1024**3
"""Size of all public files from which they are hard-linked instead of copied, in bytes."""
MOST_UNPACKED_BYTES = 20 * 1024**3
"""Largest archive that is unpacked, in bytes of its content. A larger one is left as it is."""
MOST_RATIO = 200
"""Most bytes of content per byte of an archive with more than `LARGE_BYTES` of content."""
LARGE_BYTES = 1024**3
_TABLES = {".csv", ".tsv", ".json", ".jsonl", ".parquet"}
"""Suffixes of private files that may be the answers. A private picture may well be one of those that programs get."""
_NOT_COPIED = {"description.md", "description_obfuscated.md"}


def public_files(data: PreparedData) -> Iterator[Path]:
    """The regular files of the public folder, as paths relative to it, in order.

    Raises:
        TaskError: something there is no file, or a link that leads to the private folder or to a folder.
    """
    for folder, folders, names in os.walk(data.public, onerror=_raise):
        folders.sort()
        if linked := next((name for name in folders if os.path.islink(os.path.join(folder, name))), None):
            raise TaskError(f"{os.path.join(folder, linked)} is a link to a folder; put the files there themselves.")
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() and path.resolve().is_relative_to(data.private):
                raise TaskError(f"{path} is a link to the answers in {data.private}; remove it.")
            if not path.is_file():
                raise TaskError(f"{path} is not a file; remove it.")
            yield path.relative_to(data.public)


def _raise(error: OSError) -> None:
    raise error


def copy_public(data: PreparedData, target: Path) -> None:
    """Copy the public files into the empty folder `target`, read-only, and unpack archives.

    Raises:
        TaskError: a file cannot be given to programs, or an archive is hostile.
    """
    names = [name for name in public_files(data) if str(name) not in _NOT_COPIED]
    private = [path for path in data.private.rglob("*") if _is_answers(path)]
    link = sum((data.public / name).stat().st_size for name in names) >= LINKED_FROM_BYTES
    for name in names:
        source = data.public / name
        if _equals_answers(source, private):
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        _copy(source.resolve(), copy, link)
    for name in names:
        if name.suffix.lower() == ".zip" and (target / name).is_file():
            for path in unpack(target / name):
                if _equals_answers(path, private):
                    path.unlink()


def _is_answers(path: Path) -> bool:
    return path.suffix.lower() in _TABLES and path.is_file() and "sample" not in path.name.lower()


def _equals_answers(path: Path, private: list[Path]) -> bool:
    twin = next((table for table in private if filecmp.cmp(path, table, shallow=False)), None)
    if twin is not None:
        logger.warning("%s equals %s and is not given to programs", path, twin)
    return twin is not None


def _copy(source: Path, target: Path, link: bool) -> None:
    readable = stat.S_IMODE(source.stat().st_mode) & 0o444 == 0o444
    if link and readable:  # a link shares its mode with the original, which must stay as it is
        try:
            os.link(source, target)
            return
        except OSError:  # another file system
            pass
    shutil.copyfile(source, target)
    target.chmod(0o444)


def unpack(archive: Path) -> list[Path]:
    """Replace a `.zip` by its files: beside it if that is where its paths lead, else in a folder of its name.

    An archive whose content is there already is removed. One that is too large, encrypted or damaged stays.

    Returns:
        `list[Path]`: the new files.

    Raises:
        TaskError: the archive leads out of its folder, holds links, or has far more content than its size allows.
    """
    written: list[Path] = []
    try:
        with zipfile.ZipFile(archive) as file:
            # Without what macOS adds: with it, the files would not be where the archive's name says.
            members = [
                member
                for member in file.infolist()
                if not member.is_dir() and not member.filename.startswith("__MACOSX/")
            ]
            size = sum(member.file_size for member in members)
            if not members or size > MOST_UNPACKED_BYTES or any(member.flag_bits & 1 for member in members):
                return []
            _check_members(archive, members, size)
            folder = _folder(archive, members)
            for member in members:
                path = folder / member.filename
                if not path.exists():
                    written.append(path)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with file.open(member) as source, path.open("xb") as target:
                        shutil.copyfileobj(source, target, 1024 * 1024)
                    path.chmod(0o444)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        for path in written:
            path.unlink(missing_ok=True)
        logger.warning("%s stays packed: %s", archive.name, error)
        return []
    archive.unlink()
    return written


def _check_members(archive: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    if size > LARGE_BYTES and size > MOST_RATIO * archive.stat().st_size:
        raise TaskError(f"{archive.name} has {size} bytes of content, more than {MOST_RATIO} times its own size.")
    for member in members:
        path = Path(member.filename)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in member.filename:
            raise TaskError(f"{archive.name} holds {member.filename!r}, which leads out of its folder.")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise TaskError(f"{archive.name} holds the link {member.filename!r}.")


def _folder(archive: Path, members: list[zipfile.ZipInfo]) -> Path:
    """Where the files of an archive belong. `train.zip` holds `train/1.jpg`, or `1.jpg`, or `train.csv`."""
    stem = archive.with_suffix("")
    tops = {Path(member.filename).parts[0] for member in members}
    if tops == {stem.name} or (len(members) == 1 and Path(members[0].filename).stem == Path(stem.name).stem):
        return archive.parent
    return stem


def drop_fields(path: Path, fields: tuple[str, ...]) -> None:
    """Write a JSON list of objects anew without `fields`.

    Raises:
        TaskError: the file holds something else.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        kept = [{key: value for key, value in row.items() if key not in fields} for row in rows]
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, TypeError) as error:
        raise TaskError(f"{path.name} is not a JSON list of objects: {error}.") from error
    path.unlink()
    path.write_text(json.dumps(kept), encoding="utf-8")
    path.chmod(0o444)
