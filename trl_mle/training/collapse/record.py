"""`rollback.json` in `output_dir`: the newest rollback, for a run that is killed before a checkpoint knows of it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

RECORD = "rollback.json"
COLLAPSED = "_collapsed-"
"""Start of the names of checkpoints that a rollback has left behind."""


@dataclass(frozen=True)
class RollbackRecord:
    """A rollback that has been decided."""

    step: int
    """Step of the checkpoint that training goes back to."""
    rollbacks: int
    """Number of rollbacks of the run, with this one."""
    lr_scale: float
    """Learning rate / learning rate of the settings."""
    to_rename: Sequence[str] = ()
    """Names of later checkpoints that may not have been renamed yet."""


def write(output_dir: Path, record: RollbackRecord) -> None:
    """Write the record whole or not at all, on the disk before the call returns."""
    partial = output_dir / f"{RECORD}.partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, output_dir / RECORD)


def read(output_dir: Path) -> RollbackRecord | None:
    """The newest rollback of a run, or `None` if there is none. A file that is damaged is logged and counts as none."""
    path = output_dir / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        step, rollbacks, names = content["step"], content["rollbacks"], content["to_rename"]
        if not (isinstance(step, int) and isinstance(rollbacks, int) and isinstance(names, list)):
            raise TypeError("wrong types")
        # Names of folders in `output_dir`, and no paths.
        return RollbackRecord(
            step, rollbacks, float(content["lr_scale"]), [name for name in names if Path(str(name)).name == name]
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        logger.error("%s cannot be read (%s). The learning rate is that of the checkpoint.", path, error)
        return None


def discard(output_dir: Path) -> None:
    """Forget the rollbacks of an earlier run."""
    (output_dir / RECORD).unlink(missing_ok=True)
