"""Slots of the nodes: the program that waits longest runs on the node with the most free workers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection

from trl_mle.errors import SandboxError
from trl_mle.sandboxes.ray_cluster.node_handle import NodeHandle


class Slots:
    """Hands out the slots of nodes in order of arrival.

    Args:
        nodes (`Callable`): returns the current nodes.
    """

    def __init__(self, nodes: Callable[[], Collection[NodeHandle]]):
        self._nodes = nodes
        self._waiting: deque[asyncio.Future[NodeHandle]] = deque()

    async def take(self) -> NodeHandle:
        """Wait for a slot and return its node. The slot has to be given back.

        Raises:
            SandboxError: no slot will come (see `fail`). The program has not started.
        """
        waiting: asyncio.Future[NodeHandle] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.serve()
        try:
            return await waiting
        except asyncio.CancelledError:
            # The slot may have come in the same moment.
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self.give_back(waiting.result())
            raise

    def give_back(self, node: NodeHandle) -> None:
        """End a program's use of a slot of `node`."""
        node.busy -= 1
        self.serve()

    def serve(self) -> None:
        """Give free slots to the programs that wait. Called when a slot or a node has become free."""
        while self._waiting:
            if self._waiting[0].done():  # cancelled
                self._waiting.popleft()
                continue
            node = max(self._nodes(), key=lambda node: node.free, default=None)
            if node is None or node.free <= 0:
                return
            node.busy += 1
            self._waiting.popleft().set_result(node)

    def fail(self, message: str) -> None:
        """Raise a `SandboxError` in all programs that wait."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(SandboxError(message, may_have_started=False))
