"""Outcomes as columns of the rollout table and as metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from trl_mle.instrumentation.fallbacks import AST_KINDS, FALLBACK_KINDS
from trl_mle.types import METRICS, Outcome

KEPT_OUTPUT_CHARS = 4000
"""Characters of stdout and of stderr kept for each rollout: the first and the last half."""


def shorten(text: str, limit: int = KEPT_OUTPUT_CHARS) -> str:
    """`text`, or its first and last part with the number of characters left out between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def rollout_columns(outcomes: Sequence[Outcome]) -> dict[str, list]:
    """Column name -> one value for each of the `B` outcomes. Seconds, bytes and raw scores keep their units."""
    rows = [_row(outcome) for outcome in outcomes]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def _row(outcome: Outcome) -> dict[str, Any]:
    execution, instrumented, program = outcome.execution, outcome.instrumented, outcome.program
    public, private = outcome.public, outcome.private
    return {
        # A completion that never ran has no duration; the trainer counts it as the floor.
        "action_duration": outcome.duration_s,
        "action_cpu_duration": execution.cpu_s if execution else None,
        "action_censored": outcome.kind == "timeout",
        "task_id": outcome.task_id,
        "kind": outcome.kind,
        "fault": outcome.fault,
        "extraction_reason": outcome.extraction_reason,
        "plan": program.plan if program else None,
        "program": program.code if program else None,
        "instrumented_program": instrumented.code if instrumented else None,
        "instrumentation_fallback": instrumented.fallback_reason if instrumented else None,
        "instrumentation_fallback_kind": instrumented.fallback_kind if instrumented else None,
        "status": execution.status if execution else None,
        "exit_code": execution.exit_code if execution else None,
        "max_rss_bytes": execution.max_rss_bytes if execution else None,
        "stdout": shorten(execution.stdout) if execution else None,
        "stderr": shorten(execution.stderr) if execution else None,
        "stdout_cut_bytes": execution.stdout_cut_bytes if execution else None,
        "stderr_cut_bytes": execution.stderr_cut_bytes if execution else None,
        "milestones": list(execution.milestones) if execution else [],
        **{f"metric_{name}": execution.metrics.get(name) if execution else None for name in METRICS},
        "public_score": public.score if public else None,
        "private_score": private.score if private else None,
        "invalid_reason": public.reason if public else None,
        "reward_failure": outcome.reward_parts.get("failure"),
        "reward_milestones": outcome.reward_parts.get("milestones"),
        "reward_score": outcome.reward_parts.get("score"),
    }


def log_metrics(outcomes: Sequence[Outcome], log_metric: Callable[[str, float], None]) -> None:
    """Log shares of each kind of outcome and means, under `programs/`."""
    if not outcomes:
        return
    for kind in ("valid", "failure", "timeout", "fault"):
        log_metric(f"programs/{kind}_share", fmean(outcome.kind == kind for outcome in outcomes))
    log_metric("programs/not_extracted_share", fmean(outcome.extraction_reason is not None for outcome in outcomes))
    ran = [outcome for outcome in outcomes if outcome.execution is not None]
    if not ran:
        return
    log_metric("programs/milestones", fmean(len(o.execution.milestones) for o in ran if o.execution))
    log_metric("programs/cpu_s", fmean(o.execution.cpu_s for o in ran if o.execution))
    _log_instrumentation(ran, log_metric)
    scores = [outcome.public.score for outcome in outcomes if outcome.public and outcome.public.score is not None]
    if scores and len({outcome.task_id for outcome in outcomes}) == 1:
        log_metric("programs/public_score", fmean(scores))


def _log_instrumentation(ran: Sequence[Outcome], log_metric: Callable[[str, float], None]) -> None:
    """Log the share of programs that were not instrumented as asked for, and of each reason (those of the model only where
    one was asked)."""
    instrumented = [outcome.instrumented for outcome in ran if outcome.instrumented is not None]
    if not instrumented:
        return
    log_metric("instrumentation/fallback_share", fmean(item.fallback_reason is not None for item in instrumented))
    kinds = FALLBACK_KINDS if any(item.instrumenter == "llm" for item in instrumented) else AST_KINDS
    for kind in kinds:
        log_metric(f"instrumentation/reason/{kind}", fmean(item.fallback_kind == kind for item in instrumented))
