"""What the turns of an agent did: programs per rollout, failures that it repaired, and programs better than the ones before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from trl_mle.comparison import is_better, says_something
from trl_mle.environments import read_turns
from trl_mle.outcomes import RunColumn

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AgentTurns:
    """Means over rollouts of an agent. Programs that were lost to an infrastructure fault do not count."""

    programs: float
    """Programs per rollout."""
    first_valid_share: float | None
    """Share of first programs with a valid submission; `None` if no rollout ran a program."""
    repaired_share: float | None
    """Of the programs that follow a failed one, the share with a valid submission; `None` if none does."""
    improved_share: float | None
    """Of the programs that follow a valid one, the share with a better public score; `None` if none does."""
    submitted_share: float
    """Share of rollouts that ended with a call of `submit`."""


def agent_turns(rollouts: pd.DataFrame) -> AgentTurns | None:
    """What the turns did, or `None` if the rollouts have none.

    Args:
        rollouts (`pandas.DataFrame`):
            From `read_rollouts`.
    """
    if RunColumn.TURNS not in rollouts:
        return None
    texts = rollouts[RunColumn.TURNS].dropna()
    if texts.empty:
        return None
    episodes = [programs_of(read_turns(text)) for text in texts]
    pairs = [pair for programs in episodes for pair in pairwise(programs)]
    submitted = rollouts.loc[texts.index, RunColumn.SUBMITTED].dropna() if RunColumn.SUBMITTED in rollouts else ()
    return AgentTurns(
        programs=sum(map(len, episodes)) / len(episodes),
        first_valid_share=_share(programs[0]["kind"] == "valid" for programs in episodes if programs),
        repaired_share=_share(after["kind"] == "valid" for before, after in pairs if before["kind"] != "valid"),
        improved_share=_share(
            bool(is_better(after["kind"], after["reward"], before["reward"]))
            for before, after in pairs
            if before["kind"] == "valid"
        ),
        submitted_share=_share(map(bool, submitted)) or 0.0,
    )


def programs_of(turns: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns that ran a program of which there is an outcome, in order."""
    return [turn for turn in turns if says_something(turn.get("kind"))]


def _share(values: Iterable[bool]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
