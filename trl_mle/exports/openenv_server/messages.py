"""What client and server exchange. Fields and their descriptions are the schema that OpenEnv publishes."""

from __future__ import annotations

from typing import Any, Literal

from openenv.core import Action, Observation, State
from pydantic import Field


class MLEAction(Action):
    """A call of one of the two tools."""

    tool: Literal["run_program", "submit"] = Field("run_program", description="`submit` ends the episode")
    code: str = Field("", description="for `run_program`: a whole Python program that writes submission.csv")


class MLEObservation(Observation):
    """What the agent reads. `reward` is what the last action added to the reward of the episode, and `done` whether it is over."""

    text: str = Field("", description="the tool's answer; after a reset, the task")
    messages: list[dict[str, str]] = Field(
        default_factory=list, description="after a reset: the prompt as chat messages"
    )
    task: str = Field("", description="name of the task")
    over: str | None = Field(None, description="why the episode is over: submitted, fault, runs or seconds")


class MLEState(State):
    """The episode so far, for the trainer."""

    task: str | None = None
    total: float | None = None
    """Reward of the episode if it ended here; `None` after an infrastructure fault."""
    initial: float | None = None
    """Reward of an episode without any call. The rewards of the steps sum to `total - initial`."""
    fault: str | None = None
    """The infrastructure fault, in words. Leave such an episode out."""
    turns: list[dict[str, Any]] = Field(default_factory=list)
    """Tool, seconds of the program, and value of each call."""
