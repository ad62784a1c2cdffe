"""The error of a checkpoint that cannot be written, in words."""

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
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise errors of the disk in the body as [`CheckpointError`]; others are left alone.

    Raises:
        CheckpointError: the checkpoint `folder` could not be written.
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
            free = f"{shutil.disk_usage(folder.parent).free / 2**20:.0f} MiB are free there"
        except OSError:
            free = "its disk does not answer"
        raise CheckpointError(
            f"The checkpoint {folder} could not be written: {free} ({type(error).__name__}: {error}). Earlier checkpoints are "
            "as they were. Make room, and continue with `resume_from_checkpoint: true`."
        ) from error
