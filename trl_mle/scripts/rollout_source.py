"""What a run trains on: programs written in one answer, or episodes of an agent that runs programs as tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trl_mle.scripts import build
from trl_mle.scripts.aggregation import choose_aggregation
from trl_mle.scripts.experience import check_context, make_group_prompts

if TYPE_CHECKING:
    from trl_mle.scripts.arguments import MLEArguments


@dataclass(frozen=True)
class RolloutSource:
    """Prompts, rewards and environments of a run."""

    trainer_arguments: dict[str, Any]
    """Arguments of [`DurationAwareTrainer`]: reward functions, data sets, and what makes prompts or environments."""
    check_model: Callable[[Any], None]
    """Raises `ConfigError` if the loaded model cannot be used."""
    close: Callable[[], None]
    """Releases sandbox and store."""


def single_turn_source(mle_args: MLEArguments, training_args: Any, run: build.PreparedRun) -> RolloutSource:
    """Prompts and rewards of programs that are written in one answer."""
    from trl_mle.dataset import evaluation_dataset, prompts_dataset

    aggregation = choose_aggregation(mle_args, training_args, run.checkpoint)
    reward = build.make_reward(mle_args, run.tasks)
    reward_funcs = build.reward_functions(reward, aggregation, training_args)
    group_prompts = make_group_prompts(mle_args, training_args, run)

    def close() -> None:
        reward.close()
        if group_prompts is not None:
            group_prompts.close()

    return RolloutSource(
        {
            "reward_funcs": reward_funcs,
            "train_dataset": prompts_dataset(run.tasks, prompts=prompts_per_batch(training_args)),
            "eval_dataset": None if training_args.eval_strategy == "no" else evaluation_dataset(run.tasks),
            "group_prompts": group_prompts,
        },
        lambda model: check_context(mle_args.experience_config(), training_args, model),
        close,
    )


def prompts_per_batch(training_args: Any) -> int:
    """Distinct prompts of a generation batch."""
    return int(training_args.generation_batch_size // training_args.num_generations)
