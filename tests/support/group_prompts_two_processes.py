"""What each of two processes runs in `test_group_prompts.py`; the first argument is the output folder.

Every group lies on both processes. Each writes the error that ended its training, if any, to `OUT/<rank>.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from tests.support.group_prompts import Chooser
from tests.training.test_group_prompts import trainer

SCENARIOS = ("well", "choose", "observe", "state_dict", "load_state_dict")


def train(scenario: str, folder: Path) -> str:
    run = trainer(
        folder / scenario,
        Chooser(failing=scenario),
        per_device_train_batch_size=4,
        num_generations=8,
        save_strategy="steps",
        save_steps=1,
    )
    checkpoint = str(folder / "well" / "checkpoint-1") if scenario == "load_state_dict" else None
    try:
        run.train(resume_from_checkpoint=checkpoint)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def main(out: Path) -> None:
    rank = PartialState(cpu=True).process_index
    (out / f"{rank}.json").write_text(json.dumps({scenario: train(scenario, out) for scenario in SCENARIOS}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
