"""What self-improvement prompts did in a run: how often children were better than the solutions that they were shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trl_mle.curriculum.lineage import COLUMNS, children, compared
from trl_mle.outcomes import RunColumn

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Improvement:
    """Shares over the scored completions of a run."""

    share: float
    """Share of the completions whose prompt showed an earlier solution."""
    better_share: float | None
    """Share of the children of valid parents that have a better public score; `None` without any."""
    gain: float | None
    """Mean gain of the valid ones of them, on the scale of the reward."""
    deepest: int
    """Length of the longest lineage: 1 for a child of a solution from scratch."""

    def sentence(self) -> str:
        """One line for the terminal."""
        text = f"Self-improvement: {self.share:.0%} of the completions were shown an earlier solution"
        if self.better_share is not None:
            text += f", {self.better_share:.0%} of the children of a valid one are better than it"
        if self.gain is not None:
            text += f" (the valid children by {self.gain:+.3f} on average)"
        return f"{text}. Longest lineage: {self.deepest}."


def improvement(rollouts: pd.DataFrame) -> Improvement | None:
    """What self-improvement prompts did, or `None` if no completion was shown an earlier solution.

    Args:
        rollouts (`pandas.DataFrame`):
            From `read_rollouts`.
    """
    if RunColumn.PROMPT_KIND not in rollouts:
        return None
    scored = children({name: rollouts[name].tolist() for name in COLUMNS if name in rollouts})
    shown = [child for child in scored if child.prompt_kind != "scratch"]
    if not shown:
        return None
    better_share, gain = compared(shown)
    return Improvement(
        share=len(shown) / len(scored),
        better_share=better_share,
        gain=gain,
        deepest=max(child.depth for child in shown),
    )
