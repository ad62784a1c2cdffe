"""`resume.json`: which files a checkpoint has once it is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trl_mle.training.parts import STATE_FILE

MANIFEST = "resume.json"
TRAINER_STATE = "trainer_state.json"


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
        files += [STATE_FILE.format(process=process) for process in range(processes)]
        if not args.save_only_model:
            files += (
                [f"rng_state_{process}.pth" for process in range(processes)] if processes > 1 else ["rng_state.pth"]
            )
    content = {"processes": processes, "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
