"""The reward in two parts, each a TRL reward function of its own: whether a submission is valid, and how good a valid one is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from trl_mle.config import RewardConfig
from trl_mle.outcomes import RunColumn
from trl_mle.rewards.gain_part import gain_of
from trl_mle.rewards.records import OCCASIONAL_METRICS
from trl_mle.types import MILESTONES, Outcome

PartName = Literal["validity", "score", "gain"]


def part_of(outcome: Outcome, name: PartName, parent_score: float | None = None) -> float | None:
    """One part of the reward of `outcome`.

    `validity` is 0 for a valid submission, and the reward of the failure, with its milestones, for any other. `score` is that of
    a valid submission, in [-1, 1], and `None` for any other, so that a failure is no part of the scores that are compared. The
    two add up to the reward. `gain` stands in place of `score`: see [`gain_of`]. An infrastructure fault has none of them.
    """
    if outcome.reward is None:
        return None
    if name == "gain":
        return gain_of(outcome, parent_score)
    if name == "score":
        return outcome.reward if outcome.kind == "valid" else None
    return 0.0 if outcome.kind == "valid" else outcome.reward


def validity_weight(group_size: int, config: RewardConfig) -> float:
    """Weight of `validity` beside a weight of 1 of `score`, so that no failure gets more than a valid submission of its group.

    Each part is normalised by its standard deviation in the group (`ddof` 1). If `k` of `G` completions failed, the two kinds
    are at least `best / failure_reward * sqrt(G (G - 1) / (k (G - k)))` apart in validity, where `best` is the reward of a
    failure with all milestones. The lowest of `m = G - k` scores lies at most `(m - 1) / sqrt(m)` below their mean.
    """
    best = config.failure_reward + config.milestone_reward * len(MILESTONES)
    largest = max(
        ((valid - 1) * math.sqrt(group_size - valid) for valid in range(1, group_size)),
        default=0.0,
    )
    needed = largest / math.sqrt(max(group_size * (group_size - 1), 1)) * config.failure_reward / best
    return max(1.0, math.ceil(needed * 100) / 100)


class RewardPart:
    """Asynchronous TRL reward function that returns one part of an [`MLEReward`]; see [`MLEReward.parts`].

    Args:
        name (`str`):
            `"validity"`, `"score"` or `"gain"`.
        outcomes (callable):
            Gives the outcomes of a batch, see [`SharedRuns`].
        model_card_sections (callable):
            Title -> Markdown, for the model card.
    """

    has_time_limit = True  # as MLEReward
    occasional_metrics = OCCASIONAL_METRICS
    duration_clock: str
    """Clock of the seconds per action, if those are reported. The trainer compares it with its own."""
    tools_have_limits = False
    """Whether the programs are tools of an environment, which no `tool_timeout_s` may cut off."""

    def __init__(
        self,
        name: PartName,
        outcomes: Callable[..., Awaitable[list[Outcome]]],
        model_card_sections: Callable[[], dict[str, str]] = dict,
    ):
        self.__name__ = f"{name}_reward"  # TRL names metrics and columns after it
        self.name = name
        self.model_card_sections = model_card_sections
        self._outcomes = outcomes

    async def __call__(self, prompts: list, completions: list, **kwargs: Any) -> list[float | None]:
        """The part for each of `B` completions; arguments and errors are those of [`MLEReward`]."""
        outcomes = await self._outcomes(prompts, completions, **kwargs)
        parents = kwargs.get(RunColumn.PARENT_SCORE) or [None] * len(outcomes)
        return [part_of(outcome, self.name, parent) for outcome, parent in zip(outcomes, parents, strict=True)]


class SharedRuns:
    """Lets several reward functions read the outcomes of a batch whose programs run once.

    TRL, and `overlap_execution`, call all asynchronous reward functions at the same time with the same list of completions. The
    first call of a batch runs the programs and logs the columns. The others wait for it.

    Args:
        outcomes (callable):
            Runs the programs of a batch. Its arguments begin with the prompts and the completions.
    """

    def __init__(self, outcomes: Callable[..., Awaitable[list[Outcome]]]):
        self._outcomes = outcomes
        self._running: dict[int, asyncio.Future[list[Outcome]]] = {}

    async def __call__(self, prompts: list, completions: list, **kwargs: Any) -> list[Outcome]:
        """The outcomes of a batch, from this call or from the one that is running already."""
        key = id(completions)
        running = self._running.get(key)
        if running is not None:
            return await asyncio.shield(running)
        result = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.sleep(0)  # the other functions of this batch find the call before it can end
            outcomes = await self._outcomes(prompts, completions, **kwargs)
        except asyncio.CancelledError:
            result.cancel()
            raise
        except BaseException as error:
            result.set_exception(error)
            result.exception()  # read here, because no other function may wait for it
            raise
        else:
            result.set_result(outcomes)
            return outcomes
        finally:
            del self._running[key]
