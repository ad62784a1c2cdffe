"""`MLEServerEnvironment`: an [`MLEEnvironment`] behind OpenEnv's interface."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import uuid4

from openenv.core import Environment

from trl_mle.environments import MLESpec
from trl_mle.errors import TaskError
from trl_mle.exports.openenv_server.messages import MLEAction, MLEObservation, MLEState


class MLEServerEnvironment(Environment[MLEAction, MLEObservation, MLEState]):
    """One session of a server. All sessions share the sandbox of `spec`.

    Args:
        spec ([`MLESpec`]):
            Tasks, budget and sandbox.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, spec: MLESpec):
        super().__init__()
        self._spec = spec
        self._environment = spec.environment_factory()
        self._task: str | None = None
        self._id: str | None = None

    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any
    ) -> MLEObservation:
        """Begin an episode.

        Args:
            seed (`int`, *optional*):
                Chooses the task, if there are several and none is named.
            episode_id (`str`, *optional*):
                Name of the episode.
            task (`str`, *optional*):
                Name of the task.

        Raises:
            TaskError: the server has no task of that name.
        """
        name = kwargs.get("task")
        if name is None:
            name = random.Random(seed).choice(list(self._spec.tasks))
        # A client chooses among the tasks of the server. Other names would load folders, or tasks from the Hub.
        if not isinstance(name, str) or name not in self._spec.tasks:
            known = ", ".join(sorted(self._spec.tasks))
            raise TaskError(f"There is no task {str(name)[:80]!r} on this server; it has: {known}.")
        self._environment.reset(task=name)
        self._task, self._id = name, episode_id or uuid4().hex
        messages = self._spec.prompt(self._spec.tasks[name])
        return MLEObservation(text=messages[-1]["content"], messages=messages, task=name)

    async def step_async(self, action: MLEAction, timeout_s: float | None = None, **kwargs: Any) -> MLEObservation:
        """Call a tool. `timeout_s` is ignored: programs have the limits of their task, and a call that is cut off is a fault."""
        before = self._environment.episode
        if action.tool == "submit":
            text = await self._environment.submit()
        else:
            text = await self._environment.run_program(action.code)
        episode = self._environment.episode
        start = before.turns[-1].value if before.turns else before.initial_value
        end = episode.outcome.reward
        return MLEObservation(
            text=text,
            task=self._task or "",
            done=episode.over is not None,
            over=episode.over,
            reward=None if start is None or end is None else end - start,
        )

    @property
    def state(self) -> MLEState:
        """The episode so far."""
        if self._task is None:
            return MLEState()
        episode = self._environment.episode
        turns = [{"tool": turn.tool, "seconds": turn.seconds, "value": turn.value} for turn in episode.turns]
        return MLEState(
            episode_id=self._id,
            step_count=len(turns),
            task=self._task,
            total=episode.outcome.reward,
            initial=episode.initial_value,
            fault=episode.fault,
            turns=turns,
        )

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> MLEObservation:
        """[`reset_async`] for callers without an event loop. A server does not call it."""
        return asyncio.run(self.reset_async(seed, episode_id, **kwargs))

    def step(self, action: MLEAction, timeout_s: float | None = None, **kwargs: Any) -> MLEObservation:
        """Not possible: the sandbox belongs to the server's event loop.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("Use `step_async`: the sandbox belongs to an event loop.")
