"""All VMs of one run: started on demand, reused, and killed at the end."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from trl_mle.config import E2BConfig
from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.e2b_cloud.account import Account
from trl_mle.sandboxes.e2b_cloud.errors import BusyError
from trl_mle.sandboxes.e2b_cloud.timing import E2BTiming
from trl_mle.sandboxes.e2b_cloud.vm import VM

_logger = logging.getLogger(__name__)

CLOSED = "the sandbox was closed while the program waited"
_SWEEPS = 3
"""Searches for lost VMs when the sandbox closes."""
_RUN, _START = "trl_mle_run", "trl_mle_start"
"""Keys of the metadata of each VM: one value per run, and one value per start."""


class VMPool:
    """The VMs of one run. The caller bounds how many programs hold a VM at the same time.

    Args:
        config (`E2BConfig`):
            Settings.
        check (`Callable[[VM], None]`):
            Checks each new VM and raises if programs must not run there.
        without (`tuple[str, ...]`, *optional*):
            Layers that are treated as missing; for tests.
        timing ([`E2BTiming`], *optional*):
            Durations that tests shorten.
    """

    def __init__(
        self,
        config: E2BConfig,
        check: Callable[[VM], None],
        without: tuple[str, ...] = (),
        timing: E2BTiming = E2BTiming(),  # noqa: B008 - frozen
    ):
        self.timing = timing
        self.run_id = secrets.token_hex(8)
        """Part of the metadata of each VM."""
        self.closing = False
        self.without = without
        self._config = config
        self._check = check
        self._account = Account(config, timing)
        self._all: set[VM] = set()
        self._idle: list[VM] = []
        self._starts: set[asyncio.Task[VM]] = set()
        self._queue = asyncio.Lock()
        """Held by the first program that waits because the account has no capacity; the others wait for it in order."""
        self._changed = asyncio.Event()
        """A VM has become idle, or is gone."""
        self._capacity: int | None = None
        """Number of VMs when the account last refused one; `None` before the first refusal."""
        self._refused_at = 0.0
        """Time of the last refusal, in monotonic seconds."""

    @property
    def capacity(self) -> int:
        """Programs that can run at the same time. After a refusal: as many as there are VMs, and one more per `grow_s`."""
        if self._capacity is None:
            return self._config.max_sandboxes
        hoped = self._capacity + int((time.monotonic() - self._refused_at) / self.timing.grow_s)
        return min(self._config.max_sandboxes, max(len(self._all), hoped))

    @property
    def speeds(self) -> list[float]:
        """Speed factors of the prepared VMs."""
        return [vm.speed_factor for vm in self._all if vm.is_prepared]

    async def take(self, key: str, wall_s: float) -> VM:
        """A VM for one program: an idle one, a new one, or the next that becomes free if the account has no capacity.

        Args:
            key (`str`): key of the public files that the program needs.
            wall_s (`float`): wall-clock limit of the program, in seconds.

        Raises:
            BusyError: the account has no capacity, and no VM of this run became free within `capacity_wait_s`.
        """
        try:
            return await self._idle_one(key, wall_s) or await self._new_one()
        except BusyError as error:
            busy = self._refused(error)
        deadline = asyncio.get_running_loop().time() + self.timing.capacity_wait_s
        # One program at a time looks for a VM from here on, or all that wait would ask the account after each change.
        try:
            async with asyncio.timeout_at(deadline):
                await self._queue.acquire()
        except TimeoutError:
            raise busy from None
        try:
            while self._all:  # else no VM of this run can become free, and another user holds the capacity
                self._changed.clear()
                if vm := await self._idle_one(key, wall_s):
                    return vm
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
                try:
                    return await self._idle_one(key, wall_s) or await self._new_one()
                except BusyError as error:
                    busy = self._refused(error)
        except TimeoutError:
            raise busy from None
        finally:
            self._queue.release()
        raise busy

    def _refused(self, error: BusyError) -> BusyError:
        self._capacity, self._refused_at = max(1, len(self._all)), time.monotonic()
        return error

    async def give_back(self, vm: VM, keep: bool) -> None:
        """Keep `vm` for the next program, or kill it if it cannot or must not be reused."""
        if keep and self._config.reuse and not self.closing:
            self._idle.append(vm)
            self._changed.set()
        else:
            await self._kill(vm)

    async def _idle_one(self, key: str, wall_s: float) -> VM | None:
        """An idle VM whose session is long enough; one that has the public files is preferred."""
        needed_until = asyncio.get_running_loop().time() + wall_s + self.timing.margin_s
        ending = [vm for vm in self._idle if vm.ends_at < needed_until]
        self._idle = [vm for vm in self._idle if vm not in ending]
        for vm in ending:
            await self._kill(vm)
        if self.closing:
            raise SandboxError(CLOSED, may_have_started=False)
        if not self._idle:
            return None
        vm = next((vm for vm in reversed(self._idle) if key in vm.uploaded), self._idle[-1])
        self._idle.remove(vm)
        return vm

    async def _new_one(self) -> VM:
        start = asyncio.create_task(self._start())
        self._starts.add(start)
        start.add_done_callback(self._starts.discard)
        try:
            return await start
        except asyncio.CancelledError:
            # The VM may have become ready in the same moment: the next program can have it.
            if start.done() and not start.cancelled() and start.exception() is None:
                await self.give_back(start.result(), keep=True)
            # `end` cancels the start and not this call, which then ends in an error of the sandbox.
            task = asyncio.current_task()
            if self.closing and not (task and task.cancelling()):
                raise SandboxError(CLOSED, may_have_started=False) from None
            raise

    async def _start(self) -> VM:
        """A new VM, prepared. If that fails, the VM is killed."""
        vm = await self._create(secrets.token_hex(8))
        try:
            await vm.prepare(self.without)
            self._check(vm)
        except BaseException:
            await self._kill(vm)
            raise
        _logger.info("E2B sandbox %s is ready; its speed factor is %.2f", vm.id, vm.speed_factor)
        return vm

    async def _create(self, name: str) -> VM:
        """A new VM. If its creation fails or is cancelled, no VM is left as far as E2B tells."""
        creation = asyncio.ensure_future(VM.create(self._account, {_RUN: self.run_id, _START: name}, name))
        try:
            vm = await asyncio.shield(creation)
        except asyncio.CancelledError:
            # E2B may still create the VM of a request that was abandoned.
            await asyncio.wait([creation], timeout=self.timing.creation_s)
            if creation.done() and not creation.cancelled() and creation.exception() is None:
                await finish(self._account.kill(creation.result().id))
            else:
                creation.cancel()
                await finish(self._account.sweep({_START: name}))
            raise
        except (SandboxUnavailableError, BusyError):
            raise
        except SandboxError:  # the answer may have been lost, and the VM created
            await finish(self._account.sweep({_START: name}))
            raise
        self._all.add(vm)
        return vm

    async def _kill(self, vm: VM) -> None:
        """Kill a VM. A cancellation of this call does not prevent it."""
        if vm in self._all:
            self._all.remove(vm)
            try:
                await finish(self._account.kill(vm.id))
            finally:
                self._changed.set()

    async def end(self) -> None:
        """Kill all VMs, including those in use, and search for lost ones."""
        self.closing = True
        starts, vms = list(self._starts), list(self._all)
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, *map(self._kill, vms), return_exceptions=True)
        self._idle.clear()
        for _ in range(_SWEEPS):
            lost = await self._account.sweep({_RUN: self.run_id})
            if not lost:
                return
            _logger.warning("%d E2B sandboxes were left and have been killed now", lost)
            await asyncio.sleep(self.timing.sweep_s)


async def finish(action: Coroutine[Any, Any, Any]) -> None:
    """Await `action` to its end. A cancellation meanwhile is raised after that end."""
    task = asyncio.ensure_future(action)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
