"""The weighting of a run: settings in; weights, metrics and warnings out. Both trainers use it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import TrainerCallback

from trl_mle.training.weighting.actions import Actions
from trl_mle.training.weighting.config import DurationSettings
from trl_mle.training.weighting.diagnostics import DurationMonitor, duration_metrics
from trl_mle.training.weighting.duration import duration_weights
from trl_mle.training.weighting.inclusion import InclusionModel
from trl_mle.training.weighting.rules import RULES
from trl_mle.training.weighting.samples import SampleBatch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """The weights of a global batch, and what there is to say about them."""

    per_completion: torch.Tensor
    """Shape `(B,)`, float64. For a completion of several actions, their mean."""
    per_action: torch.Tensor | None
    """Shape `(A,)`, float64; `None` if every completion is one action."""
    metrics: dict[str, float]
    """Metrics under `duration/`."""
    warnings: list[str]
    """Texts for the log, each of them once per run."""

    def report(self, metrics: Mapping[str, list[float]], *, main_process: bool) -> None:
        """Add the metrics to those of a trainer (`trainer._metrics[mode]`), and log the warnings on the main process."""
        for name, value in self.metrics.items():
            metrics[name].append(value)
        for warning in self.warnings if main_process else ():
            logger.warning("%s", warning)


class DurationWeighting:
    """Weights with mean 1 over a global batch, by the rule that `duration_weighting` names.

    Every process must call it with the same values, those of the global batch. It then has the same state on all of them.

    Args:
        settings ([`DurationSettings`]):
            The configuration of the trainer.
    """

    def __init__(self, settings: DurationSettings):
        self.settings = settings
        self.rule = RULES[settings.duration_weighting]
        self.inclusion = InclusionModel(settings.duration_rule, settings.duration_memory)
        # With exponent 0 all weights are 1, whatever the rule, so the warning of "none" applies.
        effective_rule = self.rule if settings.duration_exponent > 0 else RULES["none"]
        self._monitor = DurationMonitor(effective_rule, settings.duration_min_inclusion)
        self._lost_elsewhere: list[float] = []

    def report_lost(self, seconds: Sequence[float]) -> None:
        """Count samples that never join a batch, each by the seconds after which it was lost. The next batch has them."""
        self._lost_elsewhere.extend(seconds)

    def weigh(self, batch: SampleBatch, actions: Actions | None = None, *, learning: bool = True) -> Weights:
        """The weights of `batch`.

        Args:
            actions ([`Actions`], *optional*):
                The actions of the completions, if any completion has several.
            learning (`bool`, *optional*, defaults to `True`):
                Whether the batch is trained on. An evaluation batch changes neither memory nor warnings.

        Raises:
            DurationError: a duration that is no number of seconds.
        """
        settings = self.settings
        if learning:
            batch = replace(batch, lost_elsewhere=torch.tensor(self._lost_elsewhere, dtype=torch.float64))
            self._lost_elsewhere = []
        inclusion = self._inclusion(batch, learning)
        counted = batch.scorable if batch.counted is None else batch.counted
        weights = duration_weights(
            batch.durations if actions is None else actions.seconds,
            settings.duration_weighting,
            clip=settings.duration_clip,
            floor_s=settings.duration_floor_s,
            mask=counted if actions is None else counted[actions.rows],
            exponent=settings.duration_exponent,
            # A completion is lost as a whole, by the sum of its actions' seconds.
            inclusion=inclusion if actions is None or inclusion is None else inclusion[actions.rows],
            min_inclusion=settings.duration_min_inclusion,
        )
        per_completion = weights if actions is None else actions.row_means(weights)
        metrics = duration_metrics(batch, per_completion, inclusion, settings.duration_min_inclusion)
        messages = self._monitor.observe(batch, per_completion, inclusion) if learning else []
        return Weights(per_completion, None if actions is None else weights, metrics, messages)

    def _inclusion(self, batch: SampleBatch, learning: bool) -> torch.Tensor | None:
        """Probability that each completion was included, shape `(B,)`, if the rule needs it."""
        if not self.rule.needs_inclusion:
            return None
        # The batch is learnt from before it is weighted, so that the first batch already has an estimate.
        if learning:
            self.inclusion.observe(*batch.candidates())
        return self.inclusion.probability(batch.durations)

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint needs: the durations that inclusion is estimated from, and those of lost samples that no batch
        has counted yet, as plain numbers."""
        return {**self.inclusion.memory.state_dict(), "lost_elsewhere": list(self._lost_elsewhere)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.inclusion.memory.load_state_dict(dict(state))
        self._lost_elsewhere = [float(seconds) for seconds in state.get("lost_elsewhere", ())]

    def callbacks(self) -> list[TrainerCallback]:
        """Callbacks that the trainer adds, so that checkpoints hold the state."""
        return [SaveWeighting(self)] if self.rule.needs_inclusion else []


def deprecated_inclusion(trainer: Any) -> InclusionModel:
    """Getter of the old attribute `trainer.inclusion`."""
    warnings.warn(
        "`trainer.inclusion` is deprecated. Write `trainer.weighting.inclusion`.", FutureWarning, stacklevel=2
    )
    return trainer.weighting.inclusion


class SaveWeighting(TrainerCallback):
    """Keeps the state of a [`DurationWeighting`] in `trainer_state.json`, so that a resumed run is exact."""

    KEY = "duration_memory"

    def __init__(self, weighting: DurationWeighting):
        self.weighting = weighting
        self._has_trained = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        saved = state.stateful_callbacks.get(self.KEY)
        # A run that was started with another weighting has no state.
        if isinstance(saved, Mapping):
            self.weighting.load_state_dict(saved)
        elif self._has_trained and state.global_step == 0:  # a rollback to the policy of the beginning
            self.weighting.load_state_dict({"seconds": [], "lost": []})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._has_trained = True
        state.stateful_callbacks[self.KEY] = self.weighting.state_dict()
