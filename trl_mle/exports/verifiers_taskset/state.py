"""What task and tool server of one rollout share, and their settings."""

from __future__ import annotations

import verifiers.v1 as vf
from pydantic import Field


class MLEState(vf.State):
    """The rollout so far. The task writes the first two fields before the first call, the tool server writes the others."""

    task: str = ""
    episode: str = ""
    calls: int = 0
    """Tool calls that reached the environment."""
    programs: int = 0
    seconds: float = 0.0
    """Seconds of execution of all programs."""
    value: float | None = None
    """Reward of the episode if it ended now."""
    valid: bool = False
    """Whether there is a valid submission."""
    over: str | None = None
    """Why no program may run any more: `submitted`, `fault`, `runs` or `seconds`."""
    fault: str | None = None
    """The infrastructure fault that ended the episode, in words."""


class MLEToolsetConfig(vf.SharedToolsetConfig):
    """Settings of the tool server. One server runs the programs of all rollouts of an environment worker."""

    tasks: list[str] = Field(default_factory=lambda: ["builtin:digits"])
    """Names of tasks, and task folders."""
    runs: int = 4
    """Programs per rollout."""
    seconds: float | None = None
    """Seconds of execution per rollout; `runs` times the limit of a program by default."""
    workers: int | None = None
    """Programs at the same time; all cores by default."""
    isolation: str = "required"
    """`none` runs programs without isolation: only if you trust them."""
    show_public_score: bool = False
    """Whether the agent sees the score that decides its reward."""
