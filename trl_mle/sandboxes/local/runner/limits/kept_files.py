"""Files that travel from one run of a program to the next: collected from its folder, and written into a fresh one.

What a program left is hostile. No link is followed and nothing but a regular file is opened. Numbers, sizes and names are bounded
before anything is read. What cannot be kept is counted: an error would be a fault, which costs the program less than its penalty.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.machinery import all_suffixes

from .removal import open_folder
from .workdir import MOST_ENTRIES, SUBMISSION

NAME_BYTES = 255
"""Longest name of a kept file with its folders, in bytes."""
MOST_LEVELS = 16
"""Parts of the longest path of a kept file: its folders and its own name."""
RESERVED = frozenset({"input", "tmp", "main.py", SUBMISSION})
"""Names in a program's folder that belong to the sandbox, or to one run alone. No kept file has one, whatever its capitals."""
_MOST_FILES = 1000
_BYTECODE = "__pycache__"
_START_UP = frozenset({"main", "sitecustomize", "usercustomize"})
"""Modules that an interpreter imports by itself, or that stand for the program."""


def most_files(work_bytes: int) -> int:
    """Files that may be kept where a program's folder holds `work_bytes` bytes.

    A file takes whole blocks of 4 KiB. With `most_bytes` at most half of the folder, files that were kept always fit into the next
    one: a program cannot make the start of the next one fail.
    """
    return min(_MOST_FILES, work_bytes // (4 * 4096))


def most_bytes(work_bytes: int) -> int:
    """Bytes that all kept files may have together where a program's folder holds `work_bytes` bytes."""
    return work_bytes // 2


def bad_name(name: str) -> str | None:
    """Why `name` cannot be the name of a kept file, in words that follow it, or `None`."""
    if not name.isprintable():  # line breaks, bytes that are no UTF-8, marks of direction
        return "has characters that cannot be printed"
    if len(name.encode()) > NAME_BYTES:
        return f"is longer than {NAME_BYTES} bytes"
    parts = name.split("/")
    if len(parts) > MOST_LEVELS:
        return f"has more than {MOST_LEVELS} parts"
    if {"", ".", ".."}.intersection(parts):
        return "is not a relative path without `.` and `..`"
    if parts[0].casefold() in RESERVED:  # also on a file system that does not tell capitals apart
        return "is a name of the sandbox's own"
    if _BYTECODE in parts:
        return "is bytecode"
    return None


def folders_of(name: str) -> list[str]:
    """The paths of the folders that the file `name` lies in."""
    parts = name.split("/")
    return ["/".join(parts[:number]) for number in range(1, len(parts))]


def shadowed_module(name: str, modules: Collection[str]) -> str | None:
    """The module that the file `name` in a program's folder would stand in for, or `None`.

    The program's folder comes first on its path, as for every script. A kept `numpy.py` would run in place of the package before
    a program has done anything, although no line of that program has put it there.

    Args:
        name (`str`): path relative to the folder.
        modules (`Collection[str]`): top-level modules of the packages that the program may import.
    """
    parts = name.split("/")
    suffix = next((suffix for suffix in _SUFFIXES if parts[-1].endswith(suffix)), None)
    if suffix is None:
        return None
    stem = parts[-1].removesuffix(suffix)
    # `a/b.py` stands in for nothing: without an `__init__` a folder is found after all others.
    module = stem if len(parts) == 1 else parts[0] if len(parts) == 2 and stem == "__init__" else None
    if module is not None and (module in sys.stdlib_module_names or module in _START_UP or module in modules):
        return module
    return None


_SUFFIXES = sorted(all_suffixes(), key=len, reverse=True)
"""Endings of importable files, `.cpython-311-x86_64-linux-gnu.so` before `.so`."""


def write(folder: int, files: Mapping[str, bytes]) -> None:
    """Write `files`, whose names have been checked, into an open folder that is fresh.

    Raises:
        OSError: there is no space, or a name is taken.
    """
    for name, content in files.items():
        *folders, own = name.split("/")
        with _opened(folder, *folders, make=True) as inner:
            descriptor = os.open(
                own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=inner
            )
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)


@dataclass
class _Listing:
    """The files below a folder that may be kept."""

    modules: Collection[str]
    files: list[tuple[int, str]] = field(default_factory=list)
    """Size and name of each."""
    cut: int = 0
    """Files, links and folders that are left out."""
    entries: int = 0


def collect(folder: int, keep_bytes: int, work_bytes: int, modules: Collection[str]) -> tuple[dict[str, bytes], int]:
    """The regular files below an open folder, and the number of entries that were left out.

    The smallest files come first, so that one large file does not displace many others. Never raises: see above.

    Args:
        folder (`int`): descriptor of a program's folder. All processes of the program have ended.
        keep_bytes (`int`): bytes of all kept files together.
        work_bytes (`int`): bytes that the program's folder holds.
        modules (`Collection[str]`): see `shadowed_module`.
    """
    listing, kept = _Listing(modules), dict[str, bytes]()
    with suppress(OSError), _opened(folder) as top:
        _list(listing, top, "")
    if listing.entries > MOST_ENTRIES:
        return {}, listing.entries
    left = min(keep_bytes, most_bytes(work_bytes))
    for size, name in sorted(listing.files):
        content = _read(folder, name, left) if size <= left and len(kept) < most_files(work_bytes) else None
        if content is None:
            listing.cut += 1
        else:
            kept[name] = content
            left -= len(content)
    return kept, listing.cut


def _list(listing: _Listing, folder: int, prefix: str) -> None:
    """Add what lies in the open `folder`, whose path is `prefix`, to `listing`."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            listing.entries += 1
            if listing.entries > MOST_ENTRIES:
                return
            name = prefix + entry.name
            if name in RESERVED or entry.name == _BYTECODE:
                continue
            if bad_name(name) is not None:
                listing.cut += 1
                continue
            try:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    with _opened(folder, entry.name) as inner:
                        _list(listing, inner, f"{name}/")
                elif _may_be_read(status) and shadowed_module(name, listing.modules) is None:
                    listing.files.append((status.st_size, name))
                else:
                    listing.cut += 1
            except OSError:
                listing.cut += 1


def _may_be_read(status: os.stat_result) -> bool:
    """Whether it is a regular file with one name: a second one could belong to a file that the program cannot read."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _read(folder: int, name: str, most: int) -> bytes | None:
    """Content of a file, or `None` if it cannot be read or has become larger than `most` bytes."""
    *folders, own = name.split("/")
    # Not blocking: it is checked only now that nothing else has taken the file's place.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        with _opened(folder, *folders) as inner, os.fdopen(os.open(own, flags, dir_fd=inner), "rb") as file:
            status = os.fstat(file.fileno())
            # Its size of now, whatever the listing said, and no byte more.
            return file.read(status.st_size) if _may_be_read(status) and status.st_size <= most else None
    except OSError:
        return None


@contextmanager
def _opened(folder: int, *names: str, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder that `names` lead to from an open folder, one within the other. No name may be a link."""
    # The descriptor of a mount itself cannot be listed.
    inner = open_folder(".", folder)
    try:
        for name in names:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=inner)
            outer, inner = inner, open_folder(name, inner)
            os.close(outer)
        yield inner
    finally:
        os.close(inner)
