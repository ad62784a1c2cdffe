"""`Entry`: what the samples of one policy on one task say, from counts to curves with intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from trl_mle.environments import read_turns
from trl_mle.evaluation.estimators import curve_sizes, samples_to_first
from trl_mle.evaluation.failure_classes import failure_class
from trl_mle.evaluation.intervals import Estimate, at_least_one, best_of, share
from trl_mle.evaluation.sample_store import SampleRecord
from trl_mle.outcomes import to_row
from trl_mle.rewards.score_transform import transform_score
from trl_mle.types import MILESTONES, Direction, Outcome, ScoreTransform

WORST = -1.0
"""What a subset without a valid program is worth on the scale of the reward."""


@dataclass(frozen=True)
class TaskNote:
    """What a table must know of a task."""

    id: str
    metric: str
    direction: Direction
    transform: ScoreTransform
    time_limit_s: float
    held_out: bool | None = None
    """Whether the policies were not trained on it; `None` if that is not known."""


@dataclass(frozen=True)
class Chosen:
    """The best of all samples by public score; of equal ones the first."""

    number: int
    public_score: float
    private_score: float | None
    """Raw score on the private part, which had no say in the choice."""
    medal: str | None
    above_median: bool | None
    percentile: float | None
    """Share of the leaderboard that is worse than the private score; `None` without a leaderboard."""
    program: str


@dataclass(frozen=True)
class Entry:
    """One policy on one task with one kind of prompt. Infrastructure faults are counted apart: they say nothing of the policy."""

    policy: str
    task_id: str
    kind: str
    """`scratch`, `improve`, `agent` or `program`; `both` for the better one of `scratch` and `improve`."""
    metric: str
    direction: Direction
    held_out: bool | None
    n: int
    """Scored samples."""
    faults: int
    """Samples that no infrastructure could score."""
    valid: int
    failures: int
    timeouts: int
    valid_share: Estimate
    pass_at: Mapping[int, Estimate]
    """`k` -> probability that at least one of `k` samples is valid."""
    best_at: Mapping[int, Estimate]
    """`k` -> expected raw private score of the best of `k` by public score, over subsets with a valid sample."""
    score_at: Mapping[int, Estimate]
    """`k` -> the same on the scale of the reward, in [-1, 1], where a subset without a valid sample is worth -1."""
    medal_at: Mapping[int, Estimate]
    """`k` -> probability that the private score of the best of `k` would have won a medal; empty without a leaderboard."""
    best: Chosen | None
    samples_to_valid: float | None
    """Expected number of samples until the first valid one; `None` if none is valid."""
    programs_to_valid: float | None
    """Programs that episodes ran until their first valid one, or in vain, per episode that has a valid one: the expected number
    of programs until the first valid submission. `None` without episodes, or if none is valid."""
    milestones: Mapping[str, float]
    """Milestone -> share of the samples that reached it."""
    reasons: Mapping[str, int]
    """Why samples are not valid -> number of samples."""
    run_seconds: float | None
    """Mean execution time of the programs that ran."""
    sample_seconds: float | None
    """Mean time of a request or batch of samples."""
    tokens: float | None
    """Mean completion tokens."""
    truncated: int
    """Samples that were cut off at `max_tokens`."""
    cost: float | None
    """Cost of all samples by the policy's prices."""
    scores: Mapping[int, float] = field(default_factory=dict, repr=False)
    """Sample number -> private score on the scale of the reward, -1 if it is not valid: what policies are compared by."""
    public: Mapping[int, float] = field(default_factory=dict, repr=False)
    """Sample number -> public score, higher is better; valid samples only."""


def entry_of(records: Sequence[SampleRecord], task: TaskNote, kind: str | None = None) -> Entry:
    """The entry of the samples of one place. `kind="both"` is for samples of two kinds, whose curves would mean nothing."""
    scored = [record for record in records if record.outcome is not None and record.outcome.kind != "fault"]
    outcomes = [record.outcome for record in scored if record.outcome is not None]
    n, kinds = len(outcomes), Counter(outcome.kind for outcome in outcomes)
    choice = np.array([_oriented(outcome, task.direction) for outcome in outcomes], dtype=float)
    raw = np.array([_private(outcome) for outcome in outcomes], dtype=float)
    scaled = np.array([_scaled(score, task) for score in raw], dtype=float)
    sizes = curve_sizes(n) if n and kind != "both" else []
    valid = int((~np.isnan(choice)).sum())
    medals = [o.private.medal is not None if o.private else False for o in outcomes]
    has_leaderboard = any(o.private is not None and o.private.percentile is not None for o in outcomes)
    # A valid submission whose private part cannot be graded is worth as much as none.
    scaled_or_worst = np.where(np.isnan(scaled), WORST, scaled)
    best_at = {k: best_of(choice, raw, k, None) for k in sizes}
    return Entry(
        policy=records[0].place.policy,
        task_id=task.id,
        kind=kind or records[0].place.kind,
        metric=task.metric,
        direction=task.direction,
        held_out=task.held_out,
        n=n,
        faults=sum(record.outcome is not None and record.outcome.kind == "fault" for record in records),
        valid=valid,
        failures=kinds["failure"],
        timeouts=kinds["timeout"],
        valid_share=share(valid, n),
        pass_at={k: at_least_one(valid, n, k) for k in sizes},
        best_at={k: estimate for k, estimate in best_at.items() if estimate is not None},
        score_at={k: found for k in sizes if (found := best_of(choice, scaled_or_worst, k, WORST)) is not None},
        medal_at=(
            {k: found for k in sizes if (found := best_of(choice, np.array(medals, dtype=float), k, 0.0)) is not None}
            if has_leaderboard
            else {}
        ),
        best=_chosen(scored, choice),
        samples_to_valid=samples_to_first(n, valid),
        programs_to_valid=_programs_to_valid(scored),
        milestones={
            str(name): float(np.mean([o.execution is not None and name in o.execution.milestones for o in outcomes]))
            for name in (MILESTONES if n else ())
        },
        reasons=dict(
            Counter(reason for outcome in outcomes if (reason := failure_class(to_row(outcome)))).most_common()
        ),
        run_seconds=_mean([outcome.duration_s for outcome in outcomes]),
        sample_seconds=_mean([record.sample.seconds for record in scored]),
        tokens=_mean([record.sample.tokens for record in scored]),
        truncated=sum(record.sample.truncated for record in scored),
        # Samples that were lost to faults have been paid for.
        cost=_sum([record.sample.cost for record in records]),
        scores={record.number: float(score) for record, score in zip(scored, scaled_or_worst, strict=True)}
        if kind != "both"
        else {},
        public={
            record.number: float(value) for record, value in zip(scored, choice, strict=True) if not math.isnan(value)
        }
        if kind != "both"
        else {},
    )


def _programs_to_valid(scored: Sequence[SampleRecord]) -> float | None:
    programs = successes = 0
    for record in scored:
        for turn in read_turns(record.turns):
            # A call without a readable program has spent a program, too; one after the end of the episode has not.
            if turn.get("tool") != "run_program" or turn.get("refused") in ("submitted", "fault", "runs", "seconds"):
                continue
            programs += 1
            if turn.get("kind") == "valid":
                successes += 1
                break
    return programs / successes if successes else None


def _chosen(scored: Sequence[SampleRecord], choice: np.ndarray) -> Chosen | None:
    if not len(choice) or np.isnan(choice).all():
        return None
    record = scored[int(np.nanargmax(choice))]
    outcome = record.outcome
    assert outcome is not None and outcome.public is not None and outcome.public.score is not None
    private = outcome.private
    return Chosen(
        number=record.number,
        public_score=outcome.public.score,
        private_score=private.score if private else None,
        medal=private.medal if private else None,
        above_median=private.above_median if private else None,
        percentile=private.percentile if private else None,
        program=outcome.program.code if outcome.program else "",
    )


def _oriented(outcome: Outcome, direction: Direction) -> float:
    """The raw public score, higher is better; NaN unless the submission is valid."""
    score = outcome.public.score if outcome.kind == "valid" and outcome.public is not None else None
    return math.nan if score is None else score if direction == "maximize" else -score


def _private(outcome: Outcome) -> float:
    score = outcome.private.score if outcome.kind == "valid" and outcome.private is not None else None
    return math.nan if score is None else score


def _scaled(score: float, task: TaskNote) -> float:
    return math.nan if math.isnan(score) else transform_score(score, task.direction, task.transform)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else None
