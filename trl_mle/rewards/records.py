"""Outcomes as TRL logs them: columns of its table of completions, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, get_args

from trl_mle.instrumentation.fallbacks import AST_KINDS, FALLBACK_KINDS
from trl_mle.outcomes import Column, RunColumn, to_row
from trl_mle.rewards.idle_watch import idle_share
from trl_mle.types import Outcome, OutcomeKind

PROMPT_COLUMNS = (RunColumn.PROMPT_KIND, RunColumn.PARENT, RunColumn.PARENT_SCORE, RunColumn.DEPTH)
"""Columns of the data set that are kept with the outcome: the kind of the prompt, and the earlier solution that it shows."""

OCCASIONAL_METRICS = ("programs/valid_reward", "programs/public_score", "programs/idle_share_of_valid")
"""Metrics that exist only once a submission is valid."""


def rollout_columns(outcomes: Sequence[Outcome], with_reward: bool = False) -> dict[str, list]:
    """Column name -> one value for each of the `B` outcomes. The reward is left out, unless TRL does not add it itself."""
    rows = [to_row(outcome) for outcome in outcomes]
    names = (name for name in (rows[0] if rows else {}) if with_reward or name != Column.REWARD)
    return {name: [row[name] for row in rows] for name in names}


def prompt_columns(arguments: Mapping[str, Any]) -> dict[str, list]:
    """What the rows of the data set say of their prompts (`curriculum`): column name -> `B` values. Empty if they say nothing.

    Args:
        arguments (mapping):
            Arguments of the reward function, among them the columns of the data set.
    """
    return {str(name): list(arguments[name]) for name in PROMPT_COLUMNS if isinstance(arguments.get(name), list)}


def log_metrics(outcomes: Sequence[Outcome], log_metric: Callable[[str, float], None]) -> None:
    """Log the share of each kind of outcome, and means, under `programs/` and `instrumentation/`."""
    if not outcomes:
        return
    for kind in get_args(OutcomeKind):
        log_metric(f"programs/{kind}_share", fmean(outcome.kind == kind for outcome in outcomes))
    log_metric("programs/not_extracted_share", fmean(outcome.extraction_reason is not None for outcome in outcomes))
    _log_scores(outcomes, log_metric)
    ran = [outcome for outcome in outcomes if outcome.execution is not None]
    if not ran:
        return
    log_metric("programs/milestones", fmean(len(o.execution.milestones) for o in ran if o.execution))
    log_metric("programs/cpu_s", fmean(o.execution.cpu_s for o in ran if o.execution))
    idle = [share for outcome in ran if (share := idle_share(outcome)) is not None]
    if idle:
        log_metric("programs/idle_share_of_valid", fmean(idle))
    _log_instrumentation(ran, log_metric)
    scores = [outcome.public.score for outcome in outcomes if outcome.public and outcome.public.score is not None]
    # Raw scores of different tasks have different units, so their mean means nothing.
    if scores and len({outcome.task_id for outcome in outcomes}) == 1:
        log_metric("programs/public_score", fmean(scores))


def _log_scores(outcomes: Sequence[Outcome], log_metric: Callable[[str, float], None]) -> None:
    """Log means of the reward, and of the score that is comparable across tasks: higher is better, from -1 to 1.

    `programs/reward` is the mean reward, also where the trainer gets it in parts that it weighs.
    `programs/valid_reward` is the mean over valid submissions. `programs/score_or_worst` counts every failure as -1, so that it
    rises with the valid share and with the scores: one number by which checkpoints can be compared.
    """
    scored = [outcome for outcome in outcomes if outcome.reward is not None]
    valid = [outcome.reward for outcome in scored if outcome.kind == "valid" and outcome.reward is not None]
    if valid:
        log_metric("programs/valid_reward", fmean(valid))
    if scored:
        log_metric("programs/reward", fmean(outcome.reward for outcome in scored if outcome.reward is not None))
        log_metric("programs/score_or_worst", (sum(valid) - (len(scored) - len(valid))) / len(scored))


def _log_instrumentation(ran: Sequence[Outcome], log_metric: Callable[[str, float], None]) -> None:
    """Log the share of programs that were not instrumented as asked for, and the share of each reason."""
    instrumented = [outcome.instrumented for outcome in ran if outcome.instrumented is not None]
    if not instrumented:
        return
    log_metric("instrumentation/fallback_share", fmean(item.fallback_reason is not None for item in instrumented))
    # A run without a model has no use for a dozen metrics about one.
    kinds = FALLBACK_KINDS if any(item.instrumenter == "llm" for item in instrumented) else AST_KINDS
    for kind in kinds:
        log_metric(f"instrumentation/reason/{kind}", fmean(item.fallback_kind == kind for item in instrumented))
