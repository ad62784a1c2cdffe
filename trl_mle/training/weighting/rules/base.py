"""What a weighting rule is given, and what it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class RuleInput:
    """The `C` completions of the global batch that are trained on."""

    seconds: torch.Tensor
    """Seconds of execution, shape `(C,)`, float64; NaN for a completion that never ran."""
    floor_s: float
    """`duration_floor_s`: shorter durations, and completions that never ran, count as this many seconds."""
    inclusion: torch.Tensor | None
    """Probability that each completion is included, shape `(C,)`, for rules that need it."""
    min_inclusion: float
    """`duration_min_inclusion`: smaller probabilities count as this one."""


@dataclass(frozen=True)
class SeenSamples:
    """Sums over the training batches of a run so far, for the warnings."""

    lost: int
    """Samples lost by duration."""
    lost_share: float
    """Share of samples lost by duration."""
    effective_share: float
    """Mean effective sample size of the weights, as a share of the batch."""
    floored_share: float
    """Share of samples with a probability of inclusion under `min_inclusion`."""
    min_inclusion: float
    """`duration_min_inclusion` of the run."""


class WeightingRule(ABC):
    """A value per completion; the weights are the values, scaled to mean 1."""

    summary = ""
    """What the rule does to an advantage, in a few words, for `--help`."""
    needs_durations = True
    """False for a rule that leaves advantages alone: the trainer then accepts reward functions without durations."""
    needs_inclusion = False
    """True for a rule that needs the probability that a sample of each duration is included."""

    @abstractmethod
    def values(self, completions: RuleInput) -> torch.Tensor:
        """A positive value per completion, shape `(C,)`, float64."""

    def advice(self, seen: SeenSamples) -> str | None:
        """A warning if the rule does not fit how the samples of the run are collected. Shown once per run."""
        return None
