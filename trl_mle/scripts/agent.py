"""Training of an agent: `agent_turns` programs per rollout, as tools of an environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.scripts import build
from trl_mle.scripts.aggregation import recorded_aggregation
from trl_mle.scripts.rollout_source import RolloutSource, prompts_per_batch

if TYPE_CHECKING:
    from trl_mle.scripts.arguments import MLEArguments

ROUNDS_AFTER_PROGRAMS = 1
"""Rounds of tool calls beyond one per program: for `submit`."""


def check_agent(mle_args: MLEArguments, training_args: Any) -> None:
    """Raise `ConfigError` if a setting does not go with `agent_turns`."""
    turns = mle_args.agent_turns
    if not turns:
        return
    experience, curriculum = mle_args.experience_config(), mle_args.curriculum_config()
    for name, is_set, remedy in (
        ("improve_fraction", experience.improve_fraction, "An agent improves its own programs within a rollout."),
        ("debug_fraction", experience.debug_fraction, "An agent repairs its own programs within a rollout."),
        ("retrieved_examples", experience.retrieved_examples, "The prompts of agents show no examples."),
        ("task_curriculum", curriculum.task_curriculum != "uniform", "The tasks of an agent come in equal shares."),
        (
            "tool_timeout_s",
            training_args.tool_timeout_s is not None,
            "`agent_seconds` limits the programs of an agent.",
        ),
        ("overlap_execution", training_args.overlap_execution, "`tool_rollouts` says how programs of agents overlap."),
    ):
        if is_set:
            raise ConfigError(
                f"`{name}` is set and `agent_turns` is {turns}, which do not go together. {remedy} Leave one of the two out."
            )
    if mle_args.reward_aggregation == "gain":
        raise ConfigError(
            f"`reward_aggregation` is 'gain' and `agent_turns` is {turns}: the prompt of an agent shows no earlier program to "
            "gain on. Choose 'sum', 'parts' or 'rank'."
        )


def agent_source(mle_args: MLEArguments, training_args: Any, run: build.PreparedRun) -> RolloutSource:
    """Prompts, environments and rewards of an agent."""
    from trl_mle.prompts import PromptBudget

    _check_tool_calls(run.tokenizer)
    if training_args.max_tool_calling_iterations is None:
        # Without a limit, an agent that goes on calling tools would be asked until its completion is full.
        training_args.max_tool_calling_iterations = mle_args.agent_turns + ROUNDS_AFTER_PROGRAMS
    # As with prompts of one turn, only the model's context limits a prompt. The budget brings the tokenizer's special tokens.
    budget = PromptBudget.of_tokenizer(run.tokenizer, sys.maxsize, training_args.chat_template_kwargs)
    spec = build.make_spec(mle_args, run.tasks, prompts_per_batch(training_args), budget, training_args.duration_clock)
    reward_funcs = build.reward_functions(spec.reward, _aggregation(mle_args, training_args, run), training_args)
    return RolloutSource(
        {
            "reward_funcs": reward_funcs,
            "train_dataset": spec.train_dataset,
            "eval_dataset": None if training_args.eval_strategy == "no" else spec.eval_dataset,
            "environment_factory": spec.environment_factory,
        },
        lambda model: None,
        spec.close,
    )


def _aggregation(mle_args: MLEArguments, training_args: Any, run: build.PreparedRun) -> str:
    """`reward_aggregation`, which is also set here: that of the settings, else that of the run that is resumed, else the paper's
    `"sum"`, which every way of giving credit to turns knows."""
    if mle_args.reward_aggregation is None:
        recorded = None if run.checkpoint is None else recorded_aggregation(Path(run.checkpoint).parent)
        mle_args.reward_aggregation = recorded or "sum"
    return mle_args.reward_aggregation


def _check_tool_calls(tokenizer: Any) -> None:
    """Raise `ConfigError` if the policy's chat template cannot show tool calls."""
    from trl.chat_template_utils import supports_tool_calling

    if not supports_tool_calling(tokenizer):
        raise ConfigError(
            f"The chat template of {tokenizer.name_or_path!r} does not render tool calls, and `agent_turns` is set. Use a model "
            "that was trained with tools, such as Qwen/Qwen3-4B-Instruct-2507, or the demo policy of `trl-mle sft --config "
            "quickstart/sft-agent`."
        )
