"""A task's public files as members of an archive, and their size, for backends that send them to other machines."""

from __future__ import annotations

import os
import stat
import tarfile
from contextlib import suppress
from functools import lru_cache

from trl_mle.errors import SandboxUnavailableError


def add_public(archive: tarfile.TarFile, folder: str | os.PathLike[str]) -> None:
    """Add everything below `folder`, under names relative to it and without owners. Links stay links.

    Raises:
        SandboxUnavailableError: something in it is neither a file, a folder nor a link.
    """
    for here, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            _add(archive, os.path.join(here, name), folder)


@lru_cache(maxsize=256)
def size_of(folder: str | os.PathLike[str]) -> int:
    """Bytes of all files below `folder`, counted once per process: an estimate for time-outs of transfers."""
    size = 0
    for here, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):  # `add_public` says what is wrong with it
                size += os.stat(os.path.join(here, name)).st_size
    return size


def _add(archive: tarfile.TarFile, path: str, folder: str | os.PathLike[str]) -> None:
    member = archive.gettarinfo(path, os.path.relpath(path, folder))
    if member is None:
        raise SandboxUnavailableError(f"The public file {path!r} is a socket; remove it.")
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    if member.issym():  # relative, so that it holds wherever the folder will be
        member.linkname = os.path.relpath(os.path.realpath(path), os.path.realpath(os.path.dirname(path)))
        archive.addfile(member)
    elif member.isdir():
        archive.addfile(member)
    elif stat.S_ISREG(os.stat(path).st_mode):
        member.type, member.linkname, member.size = tarfile.REGTYPE, "", os.stat(path).st_size  # no hard links
        with open(path, "rb") as file:
            archive.addfile(member, file)
    else:
        raise SandboxUnavailableError(f"The public file {path!r} is a pipe or a device; write a regular file.")
