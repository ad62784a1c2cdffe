"""`MLETaskset`: one task of verifiers per task of this package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import verifiers.v1 as vf
from pydantic import Field
from verifiers.v1.harnesses.null import NullHarness

from trl_mle.config import RewardConfig
from trl_mle.errors import InfrastructureError
from trl_mle.exports.verifiers_taskset.state import MLEState, MLEToolsetConfig
from trl_mle.exports.verifiers_taskset.toolset import MLEToolset, spec_of

TURNS_PER_RUN = 4
FURTHER_TURNS = 8
"""A rollout has at most four messages per program, and these. Calls that run no program need a limit of their own."""


class MLETaskData(vf.TaskData):
    """What a trace keeps of the task."""

    task: str
    """Name of the task in this package."""
    most_turns: int = 24
    """Messages of the agent after which the rollout ends."""


class MLETasksetConfig(vf.TasksetConfig):
    """Settings of the taskset, `--env.taskset.*`: which tasks, and what a rollout may use. See [`MLEToolsetConfig`]."""

    tasks: list[str] = Field(default_factory=lambda: ["builtin:digits"])
    runs: int = 4
    seconds: float | None = None
    workers: int | None = None
    isolation: str = "required"
    show_public_score: bool = False

    def of_server(self) -> MLEToolsetConfig:
        """Settings of the tool server."""
        return MLEToolsetConfig(
            **{name: getattr(self, name) for name in MLEToolsetConfig.model_fields if hasattr(self, name)}
        )


class MLETask(vf.Task[MLETaskData, MLEState, vf.TaskConfig]):
    """A task with its reward. The programs run in the tool server, and the answers stay there."""

    async def setup(self, trace: Any, runtime: Any) -> None:
        """Name task and episode for the tool server."""
        trace.state.task = self.data.task
        trace.state.episode = trace.id

    @vf.stop
    async def is_over(self, trace: vf.Trace) -> bool:
        """Whether nothing that the agent does can change its reward any more, or it has called tools in vain for too long."""
        return trace.state.over is not None or trace.num_turns >= self.data.most_turns

    @vf.reward
    async def score_of_episode(self, trace: vf.Trace) -> float:
        """The reward of [`MLEEnvironment`]: score of the last valid submission, or the failure penalty and milestones.

        Raises:
            InfrastructureError: the sandbox or the grader failed. verifiers then counts the rollout as failed, not as a reward.
        """
        state = trace.state
        if state.fault is not None:
            raise InfrastructureError(state.fault)
        return RewardConfig().failure_reward if state.value is None else state.value

    @vf.metric
    async def valid_submission(self, trace: vf.Trace) -> float:
        """1 with a valid submission."""
        return float(trace.state.valid)

    @vf.metric
    async def programs(self, trace: vf.Trace) -> float:
        """Programs that ran."""
        return float(trace.state.programs)

    @vf.metric
    async def program_seconds(self, trace: vf.Trace) -> float:
        """Seconds of execution of all programs."""
        return float(trace.state.seconds)


class MLETaskset(vf.Taskset[MLETask, MLETasksetConfig]):
    """The tasks of `config.tasks`."""

    def load(self) -> Iterable[MLETask]:
        """One task per name, with the prompt of [`MLESpec`].

        Raises:
            UserError: there is no such task, or a setting cannot work.
        """
        spec = spec_of(self.config.of_server())
        for name, task in spec.tasks.items():
            system, user = (message["content"] for message in spec.prompt(task))
            turns = TURNS_PER_RUN * self.config.runs + FURTHER_TURNS
            data = MLETaskData(name=name, task=name, system_prompt=system, prompt=user, most_turns=turns)
            yield MLETask(data, self.config.task)

    @classmethod
    def toolsets(cls, config: MLETasksetConfig) -> list[vf.Toolset]:
        """One tool server for all rollouts."""
        return [MLEToolset(config.of_server())]


class MLEHarness(NullHarness):
    """The agent's chat loop, with the two tools and nothing else: no shell, which could read the answers on this machine."""
