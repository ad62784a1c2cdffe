"""`resume.json`: which files a checkpoint has once it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANIFEST = "resume.json"
TRAINER_STATE = "trainer_state.json"
"""Written last, by transformers' trainer: the other files are there then."""
PARTS = "trainer_parts_{process}.pt"
"""State of the parts of a process's trainer (`training/parts.py`)."""


def begin(folder: Path, args: Any) -> None:
    """Mark `folder` as a checkpoint that is being written, before any other file is.

    A folder of this name may be there already, if the run was resumed from an earlier checkpoint. It is whole only when
    transformers' trainer has written `trainer_state.json` anew.

    Args:
        args (`transformers.TrainingArguments`):
            Settings of the training, which say how many processes write into the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRAINER_STATE).unlink(missing_ok=True)
    processes, files = args.world_size, []
    # With `save_on_each_node`, every node has a folder of its own, with the files of its own processes.
    if not args.save_on_each_node:
        files += [PARTS.format(process=process) for process in range(processes)]
        if not args.save_only_model:
            files += (
                [f"rng_state_{process}.pth" for process in range(processes)] if processes > 1 else ["rng_state.pth"]
            )
    content = {"processes": processes, "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def missing_files(folder: Path) -> list[str] | None:
    """Files that the manifest of a checkpoint names and that are not there; empty without a manifest, as of another trainer.

    `None` if the manifest itself is cut off.

    Raises:
        OSError: the manifest cannot be read.
    """
    if not (folder / MANIFEST).exists():
        return []
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    names = content.get("files") if isinstance(content, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return [name for name in names if not (folder / name).exists()]
