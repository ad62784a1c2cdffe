"""Every import from TRL's asynchronous trainer, whose place depends on the version of TRL.

Up to TRL 1.17 it is the experimental package `trl.experimental.async_grpo`. From TRL 1.18 on, the trainer and its configuration
are imported from `trl`, and the rollout loop from `trl.trainer.async_grpo_trainer`.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

STABLE = find_spec("trl.trainer.async_grpo_trainer") is not None
"""Whether TRL has the stable trainer (1.18 or newer)."""

if TYPE_CHECKING:
    from trl.experimental.async_grpo.async_grpo_trainer import EnvironmentFactory as EnvironmentFactory
    from trl.experimental.async_grpo.async_grpo_trainer import RolloutWorkerProtocol as RolloutWorkerProtocol
    from trl.experimental.async_grpo.async_grpo_trainer import WeightTransferProtocol as WeightTransferProtocol

if TYPE_CHECKING or not STABLE:
    # Users chose `AsyncDurationAwareTrainer`, not `trl.experimental`: TRL's warning about that import would puzzle them.
    with warnings.catch_warnings():
        from trl.import_utils import TRLExperimentalWarning

        warnings.simplefilter("ignore", TRLExperimentalWarning)
        from trl.experimental.async_grpo import AsyncGRPOConfig, AsyncGRPOTrainer, async_grpo_trainer
        from trl.experimental.async_grpo.async_rollout_worker import (
            AsyncRolloutWorker,
            RolloutGroup,
            RolloutSample,
        )
        from trl.experimental.async_grpo.async_rollout_worker import _AsyncRolloutLoop as AsyncRolloutLoop
else:
    from trl import AsyncGRPOConfig, AsyncGRPOTrainer
    from trl.trainer import async_grpo_trainer

    AsyncRolloutWorker = async_grpo_trainer.AsyncRolloutWorker
    RolloutGroup = async_grpo_trainer.RolloutGroup
    RolloutSample = async_grpo_trainer.RolloutSample
    # TRL's release notes call the loop public but do not spell its name.
    AsyncRolloutLoop = getattr(async_grpo_trainer, "AsyncRolloutLoop", None) or async_grpo_trainer._AsyncRolloutLoop

__all__ = [
    "STABLE",
    "AsyncGRPOConfig",
    "AsyncGRPOTrainer",
    "AsyncRolloutLoop",
    "AsyncRolloutWorker",
    "RolloutGroup",
    "RolloutSample",
    "async_grpo_trainer",
]
