"""All machines of one run: started as programs come, used again, and none of them left."""

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
from trl_mle.sandboxes.e2b_cloud.vm import ANSWER_S, Machine

_logger = logging.getLogger(__name__)

MARGIN_S = 3 * ANSWER_S
"""How much longer than a program's wall-clock limit the session of its machine must last, in seconds."""
CLOSED = "the sandbox was closed while the program waited"
_SWEEPS, _SWEEP_S = 3, 1.0
_CREATED_S = 20.0
_ROOM_S = 120.0
"""How long a program waits for a machine where the account has no room, in seconds."""
_GROW_S = 30.0
"""After how many seconds without another refusal one more machine is tried for."""
_RUN, _START = "trl_mle_run", "trl_mle_start"
"""Keys of the metadata of each machine: the same for all of one run, and one for each start."""


class Machines:
    """The machines of one run; who asks for one limits how many are asked for at a time.

    Args:
        config (`E2BConfig`):
            Settings.
        check (`Callable[[Machine], None]`):
            Looks at each new machine and raises where it will not do.
        without (`tuple[str, ...]`, *optional*):
            Layers that are treated as missing; for tests.
    """

    def __init__(self, config: E2BConfig, check: Callable[[Machine], None], without: tuple[str, ...] = ()):
        self.run_id = secrets.token_hex(8)
        """Part of the metadata of each machine."""
        self.closing = False
        self.without = without
        self._config = config
        self._check = check
        self._account = Account(config)
        self._all: set[Machine] = set()
        self._idle: list[Machine] = []
        self._starts: set[asyncio.Task[Machine]] = set()
        self._queue = asyncio.Lock()
        """Of programs for which the account had no room."""
        self._changed = asyncio.Event()
        """A machine has become idle, or is gone."""
        self._room: int | None = None
        """Machines that there were when the account last refused one; `None`: it has refused none."""
        self._refused_at = 0.0

    @property
    def room(self) -> int:
        """Programs that may come at the same time: after a refusal as many as there are machines, later ever more again."""
        if self._room is None:
            return self._config.max_sandboxes
        hoped = self._room + int((time.monotonic() - self._refused_at) / _GROW_S)
        return min(self._config.max_sandboxes, max(len(self._all), hoped))

    @property
    def speeds(self) -> list[float]:
        """Speed factors of the machines that are there and prepared."""
        return [machine.speed_factor for machine in self._all if machine.layers]

    async def take(self, key: str, wall_s: float) -> Machine:
        """A machine for one program: an idle one, or a new one, or where the account has no room, the next that is free.

        Args:
            key (`str`): of the public files that it needs.
            wall_s (`float`): longest time that the program may take, in seconds.

        Raises:
            BusyError: the account has no room, and no machine of this run was free within two minutes.
        """
        try:
            return await self._idle_one(key, wall_s) or await self._new_one()
        except BusyError as error:
            busy = self._refused(error)
        deadline = asyncio.get_running_loop().time() + _ROOM_S
        try:
            async with asyncio.timeout_at(deadline):
                await self._queue.acquire()
        except TimeoutError:
            raise busy from None
        try:
            while self._all:  # of this run: one of them will be free or gone
                self._changed.clear()
                if machine := await self._idle_one(key, wall_s):
                    return machine
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
        self._room, self._refused_at = max(1, len(self._all)), time.monotonic()
        return error

    async def give_back(self, machine: Machine, keep: bool) -> None:
        """Have `machine` ready for the next program, or killed where it cannot be or shall not be used again."""
        if keep and self._config.reuse and not self.closing:
            self._idle.append(machine)
            self._changed.set()
        else:
            await self._kill(machine)

    async def _idle_one(self, key: str, wall_s: float) -> Machine | None:
        """An idle machine whose session is long enough, rather one that has the public files."""
        needed_until = asyncio.get_running_loop().time() + wall_s + MARGIN_S
        ending = [machine for machine in self._idle if machine.ends_at < needed_until]
        self._idle = [machine for machine in self._idle if machine not in ending]
        for machine in ending:
            await self._kill(machine)
        if self.closing:
            raise SandboxError(CLOSED, may_have_started=False)
        if not self._idle:
            return None
        machine = next((machine for machine in reversed(self._idle) if key in machine.given), self._idle[-1])
        self._idle.remove(machine)
        return machine

    async def _new_one(self) -> Machine:
        start = asyncio.create_task(self._start())
        self._starts.add(start)
        start.add_done_callback(self._starts.discard)
        try:
            return await start
        except asyncio.CancelledError:
            if start.done() and not start.cancelled() and start.exception() is None:
                await self.give_back(start.result(), keep=True)
            task = asyncio.current_task()
            if self.closing and not (task and task.cancelling()):
                raise SandboxError(CLOSED, may_have_started=False) from None
            raise

    async def _start(self) -> Machine:
        """A new machine, prepared. Where that fails, none is left."""
        machine = await self._create(secrets.token_hex(8))
        try:
            await machine.prepare(self.without)
            self._check(machine)
        except BaseException:
            await self._kill(machine)
            raise
        _logger.info("E2B sandbox %s is ready; its speed factor is %.2f", machine.id, machine.speed_factor)
        return machine

    async def _create(self, name: str) -> Machine:
        """A new machine. Where that fails or is cancelled, none is left as far as it can be known."""
        creation = asyncio.ensure_future(Machine.create(self._account, {_RUN: self.run_id, _START: name}, name))
        try:
            machine = await asyncio.shield(creation)
        except asyncio.CancelledError:
            # A request that was given up may be obeyed all the same.
            await asyncio.wait([creation], timeout=_CREATED_S)
            if creation.done() and not creation.cancelled() and creation.exception() is None:
                await finish(self._account.kill(creation.result().id))
            else:
                creation.cancel()
                await finish(self._account.sweep({_START: name}))
            raise
        except (SandboxUnavailableError, BusyError):
            raise
        except SandboxError:  # the answer may have been lost on its way: then there is one that nobody knows
            await finish(self._account.sweep({_START: name}))
            raise
        self._all.add(machine)
        return machine

    async def _kill(self, machine: Machine) -> None:
        """Kill a machine, also while this call is cancelled."""
        if machine in self._all:
            self._all.remove(machine)
            try:
                await finish(self._account.kill(machine.id))
            finally:
                self._changed.set()

    async def end(self) -> None:
        """Kill all machines, those in use too, and look for lost ones."""
        self.closing = True
        starts, machines = list(self._starts), list(self._all)
        for start in starts:
            start.cancel()
        await asyncio.gather(*starts, *map(self._kill, machines), return_exceptions=True)
        self._idle.clear()
        for _ in range(_SWEEPS):
            found = await self._account.sweep({_RUN: self.run_id})
            if not found:
                return
            _logger.warning("%d E2B sandboxes were left and have been killed now", found)
            await asyncio.sleep(_SWEEP_S)


async def finish(action: Coroutine[Any, Any, Any]) -> None:
    """Await `action` to its end, also when this is cancelled meanwhile; then the cancellation goes on."""
    task = asyncio.ensure_future(action)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
