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
    """A zip archive of `runner` and `guest`."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, folder in _FOLDERS.items():
            for path in sorted(folder.rglob("*.py")):
                archive.write(path, f"{name}/{path.relative_to(folder)}")
    return content.getvalue()


def key(folder: Path) -> str:
    """Tells a folder of public files from others, and from itself after a change.

    Raises:
        SandboxUnavailableError: programs could not read all that is in it.
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
    """Write the public files in `folder` to `archive`, a compressed tar file; links inside of the folder stay links."""
    part = archive.with_suffix(".part")
    with tarfile.open(part, "w:gz", compresslevel=1) as tar:
        add_public(tar, folder)
    part.rename(archive)
    return archive


def _entries(folder: Path) -> list[Path]:
    found = []
    for here, folders, files in os.walk(folder):
        found += [Path(here, name) for name in (*folders, *files)]
    return sorted(found)
