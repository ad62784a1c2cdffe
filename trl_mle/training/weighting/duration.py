"""Duration weights: pure functions from seconds of execution to factors of the advantage.

The duration-aware policy gradient (arXiv 2509.01684) multiplies the advantage of action `k` by its execution time and
rescales by the mean of the batch so that the size of the gradient does not depend on the unit of time:

    grad J = E[ sum_k  w_k * grad log pi(a_k | s_k) * A(s_k, a_k) ],    w_k = dt_k / mean(dt)

Where slow samples are lost on their way to the learner, the unbiased weight is one over the probability that a sample of
that duration is included (`weighting/inclusion.py` has the probabilities, `docs/duration.md` the derivation):

    w_k = (1 / P(dt_k)) / mean(1 / P(dt))

The value of a completion before scaling (`dt_k`, `1 / P(dt_k)`) comes from a rule of `weighting/rules/`.

All functions take and return tensors of shape `(B,)`, where `B` is the size of the global generation batch (all
processes), and durations in seconds.
"""

from __future__ import annotations

import math

import torch

from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.weighting.rules import RULES, RuleInput

MAX_EXPONENT = 4.0
"""Largest `duration_exponent`. Beyond it, one sample has almost all of the weight."""


def check_weighting(
    mode: str, clip: float | None, floor_s: float, exponent: float = 1.0, min_inclusion: float = 0.02
) -> None:
    """Raise `ConfigError` for settings that cannot work."""
    if mode not in RULES:
        *others, last = map(repr, RULES)
        raise ConfigError(f"`duration_weighting` is {mode!r}; choose {', '.join(others)} or {last}.")
    if clip is not None and not (math.isfinite(clip) and clip >= 1.0):
        raise ConfigError(
            f"`duration_clip` is {clip}; the mean weight is 1, so the largest weight must be a finite number of at least 1. "
            "Leave it out for no limit."
        )
    if not (math.isfinite(floor_s) and floor_s > 0.0):
        raise ConfigError(f"`duration_floor_s` is {floor_s}; it must be a positive number of seconds.")
    if not (math.isfinite(exponent) and 0.0 <= exponent <= MAX_EXPONENT):
        raise ConfigError(
            f"`duration_exponent` is {exponent}; it must lie between 0 (no weighting) and {MAX_EXPONENT:g}, where 1 is the rule "
            "itself."
        )
    if not 0.0 < min_inclusion <= 1.0:
        raise ConfigError(
            f"`duration_min_inclusion` is {min_inclusion}; smaller probabilities count as this one, so it must lie in (0, 1]. "
            "0.02 bounds the ratio of two weights by 50."
        )


def duration_weights(
    durations: torch.Tensor,
    mode: str = "proportional",
    *,
    clip: float | None = None,
    floor_s: float = 0.01,
    mask: torch.Tensor | None = None,
    exponent: float = 1.0,
    inclusion: torch.Tensor | None = None,
    min_inclusion: float = 0.02,
) -> torch.Tensor:
    """Weights with mean 1 over the batch.

    Args:
        durations (`torch.Tensor` of shape `(B,)`):
            Seconds of execution of every completion of the global batch. NaN stands for a completion that never ran
            and counts as `floor_s`.
        mode (`str`, *optional*, defaults to `"proportional"`):
            A rule of `weighting/rules/`. `"proportional"` is the paper's rule, duration over mean duration.
            `"inverse_inclusion"` is one over the probability that a sample of that duration is included (Horvitz and
            Thompson 1952), over its mean. `"none"`
            weighs every completion the same.
        clip (`float`, *optional*):
            Largest weight. The excess goes to the other completions in proportion to their weights, so that the mean
            stays 1.
        floor_s (`float`, *optional*, defaults to `0.01`):
            Shorter durations count as this many seconds.
        mask (`torch.Tensor` of shape `(B,)`, *optional*):
            True for completions that count. Others (such as unscorable ones, whose advantage is 0) have weight 1 and no
            part in the mean.
        exponent (`float`, *optional*, defaults to `1.0`):
            Power of the weight before its mean is made 1: below 1 softer than the rule, 0 as `"none"`.
        inclusion (`torch.Tensor` of shape `(B,)`, *optional*):
            Probability that each completion is included; needed for `"inverse_inclusion"` only.
        min_inclusion (`float`, *optional*, defaults to `0.02`):
            Smaller probabilities count as this one. This bounds the weights; samples below it count too little.

    Returns:
        `torch.Tensor` of shape `(B,)` and dtype float64: positive weights whose mean over the counted completions is 1.

    Raises:
        ConfigError: an impossible mode, clip, floor or exponent, or no probabilities for a rule that needs them.
        DurationError: a negative or infinite duration, something that is no probability, or the wrong shape.
    """
    check_weighting(mode, clip, floor_s, exponent, min_inclusion)
    if durations.dim() != 1:
        raise DurationError(f"durations must have shape (B,), not {tuple(durations.shape)}.")
    seconds = durations.detach().to(torch.float64)
    if mask is not None and mask.shape != seconds.shape:
        raise DurationError(f"mask has shape {tuple(mask.shape)}, but durations have {tuple(seconds.shape)}.")
    bad = torch.isinf(seconds) | (seconds < 0)
    if bad.any():
        row = int(bad.nonzero()[0])
        raise DurationError(
            f"duration {seconds[row].item()} of row {row} is not a number of seconds; use None for unknown."
        )
    weights = torch.ones_like(seconds)
    counted = torch.ones_like(seconds, dtype=torch.bool) if mask is None else mask.to(torch.bool)
    if not counted.any():
        return weights
    rule = RULES[mode]
    probabilities = _checked_probabilities(mode, inclusion, seconds, counted) if rule.needs_inclusion else None
    values = rule.values(RuleInput(seconds[counted], floor_s, probabilities, min_inclusion))
    # Dividing by the largest value first keeps the mean of equal weights exact, and sums of huge values finite.
    relative = values / values.max()
    if exponent != 1.0:
        relative = relative**exponent
    relative = relative / relative.mean()
    weights[counted] = relative if clip is None else _clip_keeping_mean(relative, clip)
    return weights


def _checked_probabilities(
    mode: str, inclusion: torch.Tensor | None, seconds: torch.Tensor, counted: torch.Tensor
) -> torch.Tensor:
    if inclusion is None:
        raise ConfigError(
            f"`{mode}` needs the probability that each completion is included: pass `inclusion`, for instance "
            "from `trl_mle.training.weighting.inclusion.InclusionModel`."
        )
    if inclusion.shape != seconds.shape:
        raise DurationError(
            f"inclusion has shape {tuple(inclusion.shape)}, but durations have {tuple(seconds.shape)}."
        )
    probabilities = inclusion.detach().to(seconds.device, torch.float64)
    bad = counted & ~((probabilities >= 0.0) & (probabilities <= 1.0))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise DurationError(f"inclusion {probabilities[row].item()} of row {row} is not a probability.")
    return probabilities[counted]


def _clip_keeping_mean(weights: torch.Tensor, clip: float) -> torch.Tensor:
    """Cap `weights` (shape `(B,)`, mean 1) at `clip` and scale the rest so that the mean is 1 again."""
    capped = torch.zeros_like(weights, dtype=torch.bool)
    scaled = weights
    # Scaling the rest up can lift further weights over the cap, so it is repeated until none is above it.
    while (scaled > clip).logical_and(~capped).any():
        capped |= scaled > clip
        if capped.all():
            return torch.ones_like(weights)
        left = weights.numel() - clip * capped.sum()
        scaled = torch.where(capped, torch.full_like(weights, clip), weights * left / weights[~capped].sum())
    return scaled


def effective_sample_size(weights: torch.Tensor) -> float:
    """Kish's effective sample size as a share of the batch, in (0, 1]: `(sum w)^2 / (B * sum w^2)`, `w` of shape `(B,)`."""
    return float(weights.sum() ** 2 / (weights.numel() * (weights**2).sum()))


def quartile_means(durations: torch.Tensor, values: torch.Tensor) -> list[float]:
    """Mean of `values` in each quarter of the batch, from the shortest to the longest duration; both of shape `(B,)`.

    Ties are broken by position. A quarter without a value (fewer than 4 rows) is NaN.
    """
    order = torch.argsort(durations, stable=True)
    return [float(part.mean()) if part.numel() else math.nan for part in torch.tensor_split(values[order], 4)]


def advantage_mass(durations: torch.Tensor, advantages: torch.Tensor) -> list[float]:
    """Share of `sum |advantage|` that each quarter of the batch carries, shortest durations first; both of shape `(B,)`.

    A policy that drifts to fast programs shows here first: the quarters of long durations carry little.
    """
    order = torch.argsort(durations, stable=True)
    mass = advantages.abs()[order]
    total = mass.sum()
    return [float(part.sum() / total) if total > 0 else math.nan for part in torch.tensor_split(mass, 4)]
