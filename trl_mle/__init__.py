"""Reinforcement learning for machine-learning engineering agents, as a TRL extension.

Names are loaded on first use: importing the package needs neither torch nor trl.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trl_mle._version import __version__ as __version__

# Type checkers read the public names here, and the interpreter reads them in `_NAMES`. A test compares the two.
if TYPE_CHECKING:
    from trl_mle.config import E2BConfig as E2BConfig
    from trl_mle.config import EpisodeBudget as EpisodeBudget
    from trl_mle.config import InstrumentationConfig as InstrumentationConfig
    from trl_mle.config import PoolConfig as PoolConfig
    from trl_mle.config import RayConfig as RayConfig
    from trl_mle.config import RewardConfig as RewardConfig
    from trl_mle.config import SandboxConfig as SandboxConfig
    from trl_mle.dataset import prompts_dataset as prompts_dataset
    from trl_mle.environments import MLEEnvironment as MLEEnvironment
    from trl_mle.environments import MLESpec as MLESpec
    from trl_mle.evaluation import EvaluationTable as EvaluationTable
    from trl_mle.evaluation import evaluate as evaluate
    from trl_mle.experience import Experience as Experience
    from trl_mle.experience import ExperienceStore as ExperienceStore
    from trl_mle.instrumentation import ASTInstrumenter as ASTInstrumenter
    from trl_mle.instrumentation import LLMInstrumenter as LLMInstrumenter
    from trl_mle.programs import extract_program as extract_program
    from trl_mle.prompts import PromptBudget as PromptBudget
    from trl_mle.prompts import build_prompt as build_prompt
    from trl_mle.rewards import MLEReward as MLEReward
    from trl_mle.rewards import ProgramScorer as ProgramScorer
    from trl_mle.sandboxes import E2BSandbox as E2BSandbox
    from trl_mle.sandboxes import LocalSandbox as LocalSandbox
    from trl_mle.sandboxes import RaySandbox as RaySandbox
    from trl_mle.sandboxes import SandboxPool as SandboxPool
    from trl_mle.tasks import Task as Task
    from trl_mle.tasks import list_tasks as list_tasks
    from trl_mle.tasks import load_task as load_task
    from trl_mle.training import AsyncDurationAwareConfig as AsyncDurationAwareConfig
    from trl_mle.training import AsyncDurationAwareTrainer as AsyncDurationAwareTrainer
    from trl_mle.training import DurationAwareConfig as DurationAwareConfig
    from trl_mle.training import DurationAwareTrainer as DurationAwareTrainer
    from trl_mle.training import duration_weights as duration_weights
    from trl_mle.types import Execution as Execution
    from trl_mle.types import Grade as Grade
    from trl_mle.types import Limits as Limits
    from trl_mle.types import Outcome as Outcome
    from trl_mle.types import Program as Program

_NAMES = {
    "trl_mle.config": "E2BConfig EpisodeBudget InstrumentationConfig PoolConfig RayConfig RewardConfig SandboxConfig",
    "trl_mle.dataset": "prompts_dataset",
    "trl_mle.environments": "MLEEnvironment MLESpec",
    "trl_mle.evaluation": "EvaluationTable evaluate",
    "trl_mle.experience": "Experience ExperienceStore",
    "trl_mle.instrumentation": "ASTInstrumenter LLMInstrumenter",
    "trl_mle.programs": "extract_program",
    "trl_mle.prompts": "PromptBudget build_prompt",
    "trl_mle.rewards": "MLEReward ProgramScorer",
    "trl_mle.sandboxes": "E2BSandbox LocalSandbox RaySandbox SandboxPool",
    "trl_mle.tasks": "Task list_tasks load_task",
    "trl_mle.training": (
        "AsyncDurationAwareConfig AsyncDurationAwareTrainer DurationAwareConfig DurationAwareTrainer duration_weights"
    ),
    "trl_mle.types": "Execution Grade Limits Outcome Program",
}
"""Module -> the public names that it defines."""
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
