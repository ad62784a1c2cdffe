"""The error of a checkpoint, or of another file of a run, that cannot be written, in words."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from trl_mle.errors import CheckpointError

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


@contextmanager
def disk_errors(path: Path, what: str = "checkpoint") -> Iterator[None]:
    """Raise errors of the disk in the body as [`CheckpointError`]; others are left alone.

    Args:
        path (`Path`):
            File or folder that is written.
        what (`str`, *optional*, defaults to `"checkpoint"`):
            What it holds, for the message.

    Raises:
        CheckpointError: `path` could not be written.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        # `torch.save` says where in its archive it is, and not that the disk is full.
        is_archive = isinstance(error, RuntimeError) and "inline_container" in str(error)
        if (
            not is_archive
            and not isinstance(error, SafetensorError)
            and getattr(error, "errno", None) not in DISK_ERRORS
        ):
            raise
        try:
            free = f"{shutil.disk_usage(path.parent).free / 2**20:.0f} MiB are free there"
        except OSError:
            free = "its disk does not answer"
        raise CheckpointError(
            f"The {what} {path} could not be written: {free} ({type(error).__name__}: {error}). Earlier checkpoints are "
            "as they were. Make room, and continue with `resume_from_checkpoint: true`."
        ) from error
