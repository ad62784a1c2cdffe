"""A slot of `LocalSandbox`: it runs one program at a time, in one worker after another."""

from __future__ import annotations

import asyncio
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
