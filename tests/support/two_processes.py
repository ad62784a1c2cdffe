"""What each of two processes runs for all tests that train with two: one launch, because loading torch and TRL takes ten seconds.

The first argument is the output folder. Each module of `MODULES` runs all its scenarios, and writes what it saw into a folder of
its own.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path

import torch
from accelerate import PartialState

MODULES = ("weights_two_processes", "failing_process", "overlap_two_processes")
"""The last one leaves programs running, whose threads and tasks must not keep the processes from ending."""


def main(out: Path) -> None:
    rank = PartialState(cpu=True).process_index
    modules = [import_module(f"tests.support.{name}") for name in MODULES]
    gc.freeze()  # as in `tests/conftest.py`
    for name, module in zip(MODULES, modules, strict=True):
        sys.stdout.write(f"process {rank}: {name}\n")
        (out / name).mkdir(exist_ok=True)
        module.main(out / name)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
