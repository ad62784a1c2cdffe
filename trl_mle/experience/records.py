"""The record that a store gives back, and the small columns that it keeps of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from trl_mle.comparison import score_of
from trl_mle.experience.families import family_of
from trl_mle.experience.fingerprint import fingerprint, tokens_of
from trl_mle.types import Outcome, PromptKind


@dataclass(frozen=True)
class Experience:
    """One outcome in a store, and where it comes from."""

    id: int
    """Number within its store, in the order of insertion. Another store gives the same outcome another id."""
    outcome: Outcome
    """The outcome as `outcomes.stored` leaves it: without nonce and submission, and with long output shortened."""
    prompt_kind: PromptKind
    """What the prompt asked for."""
    parent_id: int | None
    """Id of the earlier outcome that the prompt showed; `None` for a prompt from scratch."""
    step: int | None
    """Optimizer steps before the program was written; `None` if it was not written in training."""
    depth: int
    """Number of earlier outcomes in its lineage: 0 from scratch, 1 for a child of such a program."""


class Fact(NamedTuple):
    """Small columns of an outcome: what the choice of parents rests on. The names are those of the table `experiences`."""

    task_id: str
    kind: str
    prompt_kind: str
    parent_id: int | None
    step: int | None
    depth: int
    reward: float | None
    fingerprint: bytes | None
    family: str | None
    features: str | None


def fact_of(outcome: Outcome, prompt_kind: str, parent_id: int | None, step: int | None) -> Fact:
    """The small columns of `outcome`, with a depth of 0. The private grade has no part in them."""
    reward = name = family = features = None
    if outcome.program is not None:
        tokens = tokens_of(outcome.program.code)
        name = fingerprint(outcome.program.code, tokens)
        if outcome.kind == "valid":
            reward = score_of(outcome)
            family, features = family_of(outcome.program.code, tokens)
    return Fact(outcome.task_id, outcome.kind, prompt_kind, parent_id, step, 0, reward, name, family, features)
