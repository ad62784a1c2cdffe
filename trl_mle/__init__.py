"""Reinforcement learning for machine-learning engineering agents, as a TRL extension.

Names are loaded on first use: importing the package needs neither torch nor trl.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl_mle.config import E2BConfig, InstrumentationConfig, PoolConfig, RayConfig, RewardConfig, SandboxConfig
    from trl_mle.dataset import prompts_dataset
    from trl_mle.instrumentation import ASTInstrumenter, LLMInstrumenter
    from trl_mle.programs import extract_program
    from trl_mle.prompts import build_prompt
    from trl_mle.rewards import MLEReward
    from trl_mle.sandboxes import E2BSandbox, LocalSandbox, RaySandbox, SandboxPool
    from trl_mle.tasks import Task, list_tasks, load_task
    from trl_mle.training import (
        AsyncDurationAwareConfig,
        AsyncDurationAwareTrainer,
        DurationAwareConfig,
        DurationAwareTrainer,
        duration_weights,
    )
    from trl_mle.types import Execution, Grade, Limits, Outcome, Program

__version__ = "0.1.0"

_HOMES = {
    "ASTInstrumenter": "trl_mle.instrumentation",
    "AsyncDurationAwareConfig": "trl_mle.training",
    "AsyncDurationAwareTrainer": "trl_mle.training",
    "DurationAwareConfig": "trl_mle.training",
    "DurationAwareTrainer": "trl_mle.training",
    "E2BConfig": "trl_mle.config",
    "E2BSandbox": "trl_mle.sandboxes",
    "Execution": "trl_mle.types",
    "Grade": "trl_mle.types",
    "InstrumentationConfig": "trl_mle.config",
    "LLMInstrumenter": "trl_mle.instrumentation",
    "Limits": "trl_mle.types",
    "LocalSandbox": "trl_mle.sandboxes",
    "MLEReward": "trl_mle.rewards",
    "Outcome": "trl_mle.types",
    "Program": "trl_mle.types",
    "PoolConfig": "trl_mle.config",
    "RayConfig": "trl_mle.config",
    "RaySandbox": "trl_mle.sandboxes",
    "RewardConfig": "trl_mle.config",
    "SandboxConfig": "trl_mle.config",
    "SandboxPool": "trl_mle.sandboxes",
    "Task": "trl_mle.tasks",
    "build_prompt": "trl_mle.prompts",
    "duration_weights": "trl_mle.training",
    "extract_program": "trl_mle.programs",
    "list_tasks": "trl_mle.tasks",
    "load_task": "trl_mle.tasks",
    "prompts_dataset": "trl_mle.dataset",
}

__all__ = [
    "ASTInstrumenter",
    "AsyncDurationAwareConfig",
    "AsyncDurationAwareTrainer",
    "DurationAwareConfig",
    "DurationAwareTrainer",
    "E2BConfig",
    "E2BSandbox",
    "Execution",
    "Grade",
    "InstrumentationConfig",
    "LLMInstrumenter",
    "Limits",
    "LocalSandbox",
    "MLEReward",
    "Outcome",
    "PoolConfig",
    "Program",
    "RayConfig",
    "RaySandbox",
    "RewardConfig",
    "SandboxConfig",
    "SandboxPool",
    "Task",
    "build_prompt",
    "duration_weights",
    "extract_program",
    "list_tasks",
    "load_task",
    "prompts_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
