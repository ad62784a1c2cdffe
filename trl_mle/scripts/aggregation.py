"""The default of `reward_aggregation`, which depends on the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl_mle.evaluation.run_files import read_settings


def choose_aggregation(mle_args: Any, training_args: Any, checkpoint: str | None = None) -> str:
    """`reward_aggregation` of a run of `trl-mle grpo`: the one that is set, else the default, which is also set here.

    A resumed run keeps what it was begun with, although its command does not name it. Otherwise the default is `"parts"`, except
    `"sum"` where another setting is for a single reward.

    Args:
        mle_args (`MLEArguments`):
            Settings; `reward_aggregation` is set in place.
        training_args ([`DurationAwareConfig`]):
            Settings of the training.
        checkpoint (`str`, *optional*):
            Checkpoint that the run resumes from.
    """
    if mle_args.reward_aggregation is None:
        recorded = None if checkpoint is None else recorded_aggregation(Path(checkpoint).parent)
        mle_args.reward_aggregation = recorded or ("sum" if _is_for_one_reward(training_args) else "parts")
    return mle_args.reward_aggregation


def recorded_aggregation(folder: Path) -> str | None:
    """What the run in `folder` was begun with, or `None` if it says nothing."""
    settings = read_settings(folder).get("mle")
    if not isinstance(settings, dict):
        return None
    # A run from before there was a choice has no such key.
    value = settings.get("reward_aggregation", "sum")
    return value if isinstance(value, str) else None


def _is_for_one_reward(training_args: Any) -> bool:
    """Whether a setting has no meaning for, or is refused with, rewards that are normalised apart."""
    return (
        training_args.reward_scale_column is not None
        or training_args.turn_credit != "episode"
        or bool(training_args.ranked_rewards)
        or training_args.scale_rewards != "group"
        or (training_args.reward_weights is not None and len(training_args.reward_weights) == 1)
    )
