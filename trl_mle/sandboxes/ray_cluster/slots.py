"""Who runs next on which node: the first that waits, on the node with the most free workers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection

from trl_mle.errors import SandboxError
from trl_mle.sandboxes.ray_cluster.node_handle import Member


class Places:
    """Gives out the places of nodes in the order in which they are asked for.

    Args:
        members (`Callable`): the nodes as they are now.
    """

    def __init__(self, members: Callable[[], Collection[Member]]):
        self._members = members
        self._waiting: deque[asyncio.Future[Member]] = deque()

    async def take(self) -> Member:
        """Wait for a place; it has to be given back.

        Raises:
            SandboxError: there will be none (see `fail`); the program has not started.
        """
        waiting: asyncio.Future[Member] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.serve()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self.give_back(waiting.result())
            raise

    def give_back(self, member: Member) -> None:
        """End a program's use of its place."""
        member.busy -= 1
        self.serve()

    def serve(self) -> None:
        """Give what is free to those who wait; to be called when a node has become ready."""
        while self._waiting:
            if self._waiting[0].done():  # cancelled
                self._waiting.popleft()
                continue
            member = max(self._members(), key=lambda one: one.free, default=None)
            if member is None or member.free <= 0:
                return
            member.busy += 1
            self._waiting.popleft().set_result(member)

    def fail(self, words: str) -> None:
        """Tell all who wait that there is no place for them."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(SandboxError(words, may_have_started=False))
