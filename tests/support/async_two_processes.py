"""What each of two processes runs in `test_async_two_processes.py`; the first argument is the output folder."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch
from accelerate import PartialState

from tests.support.async_worker import Recording, async_trainer, sample


def samples(known: bool):
    seconds = [1.0 + row % 5 * 3.0 if known or row != 9 else ... for row in range(80)]
    return [sample(row, advantage=math.sin(row + 1.0), seconds=value) for row, value in enumerate(seconds)]


def main(out: Path) -> None:
    rank = PartialState(cpu=True).process_index
    trainer = async_trainer(out / "known", samples(True), Recording)
    trainer.train()
    result = {
        "seen": [(step, values.tolist()) for step, values in trainer.seen],
        "sum": float(sum(p.double().sum() for p in trainer.model.parameters())),
    }
    try:
        async_trainer(out / "unknown", samples(False)).train()
    except ValueError as error:
        result["error"] = str(error)
    (out / f"{rank}.json").write_text(json.dumps(result))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
