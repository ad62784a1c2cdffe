"""The trainers and the weighting by duration. Public names are imported on first use, since torch and trl take seconds."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl_mle.training.async_grpo.config import AsyncDurationAwareConfig
    from trl_mle.training.async_grpo.trainer import AsyncDurationAwareTrainer
    from trl_mle.training.config import DurationAwareConfig
    from trl_mle.training.trainer import DurationAwareTrainer
    from trl_mle.training.weighting.duration import duration_weights

_MODULES = {
    "AsyncDurationAwareConfig": "trl_mle.training.async_grpo.config",
    "AsyncDurationAwareTrainer": "trl_mle.training.async_grpo.trainer",
    "DurationAwareConfig": "trl_mle.training.config",
    "DurationAwareTrainer": "trl_mle.training.trainer",
    "duration_weights": "trl_mle.training.weighting.duration",
}

__all__ = [
    "AsyncDurationAwareConfig",
    "AsyncDurationAwareTrainer",
    "DurationAwareConfig",
    "DurationAwareTrainer",
    "duration_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
