"""The trainer and its pure parts. Only here are torch and trl imported; names are loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl_mle.training.async_config import AsyncDurationAwareConfig
    from trl_mle.training.async_trainer import AsyncDurationAwareTrainer
    from trl_mle.training.config import DurationAwareConfig
    from trl_mle.training.duration import duration_weights
    from trl_mle.training.trainer import DurationAwareTrainer

_HOMES = {
    "AsyncDurationAwareConfig": "trl_mle.training.async_config",
    "AsyncDurationAwareTrainer": "trl_mle.training.async_trainer",
    "DurationAwareConfig": "trl_mle.training.config",
    "DurationAwareTrainer": "trl_mle.training.trainer",
    "duration_weights": "trl_mle.training.duration",
}

__all__ = [
    "AsyncDurationAwareConfig",
    "AsyncDurationAwareTrainer",
    "DurationAwareConfig",
    "DurationAwareTrainer",
    "duration_weights",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
