"""What is uploaded to a VM: the modules that run there, and a task's public files. Never the answers."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from functools import lru_cache
from pathlib import Path

from trl_mle.errors import SandboxUnavailableError
from trl_mle.sandboxes.local.runner import public_files
from trl_mle.sandboxes.public_files import add_public

_SANDBOXES = Path(__file__).parents[1]
_FOLDERS = {"runner": _SANDBOXES / "local" / "runner", "guest": Path(__file__).with_name("guest")}


@lru_cache(maxsize=1)
def modules() -> bytes:
    """The modules of `runner` and `guest` as a zip archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, folder in _FOLDERS.items():
            for path in sorted(folder.rglob("*.py")):
                archive.write(path, f"{name}/{path.relative_to(folder)}")
    return content.getvalue()


def key(folder: Path) -> str:
    """A key of a folder of public files, which changes with its path and its content.

    Raises:
        SandboxUnavailableError: the folder contains something that programs could not read.
    """
    try:
        public_files.check(str(folder))
    except public_files.UnusableError as error:
        raise SandboxUnavailableError(f"A task cannot run: {error}.") from error
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder)))
    for path in _entries(folder):
        status = path.stat()
        digest.update(repr((str(path.relative_to(folder)), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()[:20]


def pack(folder: Path, archive: Path) -> Path:
    """Write the public files in `folder` to `archive`, a compressed tar file. Links inside the folder stay links."""
    part = archive.with_suffix(".part")
    with tarfile.open(part, "w:gz", compresslevel=1) as tar:
        add_public(tar, folder)
    part.rename(archive)
    return archive


def _entries(folder: Path) -> list[Path]:
    paths = []
    for here, folders, files in os.walk(folder):
        paths += [Path(here, name) for name in (*folders, *files)]
    return sorted(paths)
