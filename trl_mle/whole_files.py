"""Files that are whole or not there: each is written beside its place and renamed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from trl_mle.errors import ConfigError

PART = ".part"
"""End of the names of files that are being written."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Replace the file `path`. A reader, or a kill at any moment, finds the earlier content or the new one.

    Raises:
        ConfigError: the file cannot be written.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=PART, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); make room, or choose another folder."
        ) from error
