"""A slot of `LocalSandbox`: it runs one program at a time, in one worker after another."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

from trl_mle.sandboxes.local.worker_process import WorkerProcess


@dataclass
class Slot:
    """A slot runs one program at a time."""

    number: int
    worker: WorkerProcess | None = None
    starts: int = 0
    in_use: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the call whose program has the slot, until its worker is idle or gone."""
    _removals_failed: int = 0
    """Failed removals of the workers that the slot has had."""
    _taken: int = 0

    @property
    def number_on_machine(self) -> int:
        """Number of the slot among those of all ranks of this machine. The ranks take turns, so that their first workers keep
        to different cores."""
        return self.number * processes_of_machine() + _from_launcher("LOCAL_RANK", 0)

    async def stop(self) -> None:
        """End the worker, if there is one."""
        worker, self.worker = self.worker, None
        if worker is not None:
            await worker.stop()
            self._removals_failed += worker.removals_failed

    def take_removals_failed(self) -> int:
        """Failed removals since the last call."""
        number = self._removals_failed + (0 if self.worker is None else self.worker.removals_failed)
        taken, self._taken = self._taken, number
        return number - taken


def processes_of_machine() -> int:
    """Number of processes of this launch on this machine; each has workers of its own."""
    return max(1, _from_launcher("LOCAL_WORLD_SIZE", 1))


def _from_launcher(name: str, default: int) -> int:
    """A variable that torchrun and accelerate set for each process; `default` if this one has not been started by them."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default
