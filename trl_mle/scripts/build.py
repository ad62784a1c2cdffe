"""What a training script is made of, built from its settings: model, tasks, sandbox, instrumenter, reward function."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trl_mle.config import InstrumentationConfig
from trl_mle.environments import EpisodeReward, MLESpec
from trl_mle.errors import ConfigError
from trl_mle.evaluation import Validation, validate_task_once
from trl_mle.instrumentation import ASTInstrumenter, LLMInstrumenter
from trl_mle.instrumentation.llm.prompt import DEFAULT_MAX_TOKENS
from trl_mle.prompts import PromptBudget
from trl_mle.prompts.quoting import clean_output
from trl_mle.rewards import MLEReward
from trl_mle.rewards.reward_parts import validity_weight
from trl_mle.sandboxes.backends import make_sandbox
from trl_mle.scripts.checkpoints import resume_from
from trl_mle.scripts.checks import check_chat_template
from trl_mle.scripts.run_dir import move_earlier_run
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    from trl_mle.scripts.arguments import MLEArguments
    from trl_mle.tasks import Task
    from trl_mle.training import DurationAwareConfig

AnyTask = TypeVar("AnyTask", bound=TaskSpec)


@dataclass(frozen=True)
class PreparedRun:
    """A run whose settings, model and tasks have been checked, on this process."""

    folder: Path
    """`output_dir`."""
    checkpoint: str | None
    """Checkpoint to resume from."""
    tokenizer: Any
    """Tokenizer of the policy, padded on the left."""
    tasks: dict[str, Task]
    """Name -> task, with the time limit of the run."""
    validations: dict[str, Validation]
    """Task id -> scores of its baseline and reference; empty except on the main process."""


def prepare_run(mle_args: MLEArguments, training_args: Any, model_args: Any, tasks: Mapping[str, Task]) -> PreparedRun:
    """Check model and tasks, and move an earlier run in `output_dir` aside, before hours are spent.

    Raises:
        UserError: the model has no chat template, there is no such checkpoint, or a task does not work.
        SandboxError: the sandbox does not work.
    """
    folder = Path(training_args.output_dir)
    checkpoint = resume_from(training_args)
    tokenizer = load_tokenizer(model_args, training_args)
    check_chat_template(tokenizer, model_args.model_name_or_path)
    main_process = training_args.process_index == 0
    # The other processes write into the folder only after the main process has moved the earlier run.
    with training_args.main_process_first(local=False, desc="moving an earlier run aside"):
        if checkpoint is None and main_process:
            move_earlier_run(folder)
    validations = validate_tasks(mle_args, tasks) if mle_args.validate_tasks and main_process else {}
    for task in tasks.values():
        if line := own_scores(task, validations.get(task.id)):
            print(clean_output(line), flush=True)
    return PreparedRun(
        folder, checkpoint, tokenizer, with_time_limit(tasks, mle_args.program_time_limit_s), validations
    )


def with_time_limit(tasks: Mapping[str, AnyTask], seconds: float | None) -> dict[str, AnyTask]:
    """`tasks` with the time limit `program_time_limit_s`, if it is set: prompts state it and the sandbox enforces it."""
    if seconds is None:
        return dict(tasks)
    return {name: replace(task, time_limit_s=seconds) for name, task in tasks.items()}


def validate_tasks(mle_args: MLEArguments, tasks: Mapping[str, Task]) -> dict[str, Validation]:
    """Scores of the tasks' own programs, by task id, under the tasks' own limits. It shows that sandbox and tasks work."""

    async def validate_all() -> dict[str, Validation]:
        config = mle_args.backend_config(list(tasks.values())).one_program_at_a_time()
        async with make_sandbox(mle_args.sandbox_backend, config, mle_args.pool_config()) as sandbox:
            return {task.id: await validate_task_once(task, sandbox) for task in tasks.values()}

    return asyncio.run(validate_all())


def own_scores(task: Task, validation: Validation | None) -> str:
    """One line: the public scores of the task's own programs, with which those of a run compare. Empty if it has none."""
    programs = {} if validation is None else validation.programs
    scores = [f"of the {name} program {score.public:.4g}" for name, score in programs.items()]
    return f"{task.id}: {task.metric} {', '.join(scores)} (public part)" if scores else ""


def make_reward(mle_args: MLEArguments, tasks: Mapping[str, Task], alone: bool = False) -> MLEReward:
    """The reward function that the settings ask for.

    Args:
        mle_args (`MLEArguments`):
            Settings.
        tasks (mapping from name to [`Task`]):
            Tasks of the run.
        alone (`bool`, *optional*, defaults to `False`):
            Whether one process of the training runs all programs.
    """
    backend = mle_args.backend_config(list(tasks.values()), alone)
    return MLEReward(
        sandbox=make_sandbox(mle_args.sandbox_backend, backend, mle_args.pool_config()),
        instrumenter=make_instrumenter(mle_args.instrumentation_config()),
        reward=mle_args.reward_config(),
        tasks=tasks,
    )


def make_spec(
    mle_args: MLEArguments, tasks: Mapping[str, Task], prompts: int, prompt_budget: PromptBudget, duration_clock: str
) -> MLESpec:
    """Prompts, environments and reward of an agent that the settings ask for.

    Args:
        mle_args (`MLEArguments`):
            Settings.
        tasks (mapping from name to [`Task`]):
            Tasks of the run.
        prompts (`int`):
            Distinct prompts per generation batch.
        prompt_budget ([`PromptBudget`]):
            Most tokens of a prompt, and the policy's special tokens.
        duration_clock (`str`):
            `"wall"` or `"cpu"`.
    """
    backend = mle_args.backend_config(list(tasks.values()))
    return MLESpec(
        tasks,
        budget=mle_args.episode_budget(),
        sandbox=make_sandbox(mle_args.sandbox_backend, backend, mle_args.pool_config()),
        instrumenter=make_instrumenter(mle_args.instrumentation_config()),
        reward=mle_args.reward_config(),
        prompts=prompts,
        prompt_budget=prompt_budget,
        show_public_score=mle_args.agent_public_score,
        duration_clock=duration_clock,  # type: ignore[arg-type]  # checked there
    )


def reward_functions(
    reward: MLEReward | EpisodeReward, aggregation: str, training_args: DurationAwareConfig
) -> list[Any]:
    """What the trainer is given for `reward_aggregation`; sets the settings of training that belong to it."""
    if aggregation == "sum":
        return [reward]
    parts = reward.parts("gain" if aggregation == "gain" else "score")
    training_args.multi_objective_aggregation = "normalize_then_sum"
    if training_args.reward_weights is None:
        config = reward.config if isinstance(reward, MLEReward) else reward.reward.config
        training_args.reward_weights = [validity_weight(training_args.num_generations or 1, config), 1.0]
    if aggregation == "rank":
        training_args.ranked_rewards = [part.__name__ for part in parts if part.name == "score"]
    return parts


def make_instrumenter(config: InstrumentationConfig) -> ASTInstrumenter | LLMInstrumenter:
    """The instrumenter that the settings ask for. Without an endpoint, `"llm"` loads its model into this process.

    Raises:
        UserError: a package is missing, the variable with the key is not set, or the model cannot be loaded.
    """
    if config.instrumenter == "ast":
        return ASTInstrumenter()
    if config.endpoint is not None:
        return LLMInstrumenter(config)
    from trl_mle.language_models.transformers_backend import TransformersBackend

    max_tokens = config.max_tokens or DEFAULT_MAX_TOKENS[config.answer_format]
    return LLMInstrumenter(config, backend=TransformersBackend(config.model, max_tokens))


def model_init_kwargs(model_args: Any, training_args: Any) -> dict[str, Any]:
    """Arguments of `from_pretrained`; `training_args.model_init_kwargs` win."""
    return {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        "trust_remote_code": training_args.trust_remote_code,
        **(training_args.model_init_kwargs or {}),
    }


def load_tokenizer(model_args: Any, training_args: Any) -> Any:
    """The tokenizer of `model_name_or_path`, padded on the left.

    Raises:
        ConfigError: there is no such model, or it cannot be reached.
    """
    from transformers import AutoTokenizer

    name = model_args.model_name_or_path
    try:
        return AutoTokenizer.from_pretrained(
            name,
            revision=model_args.model_revision,
            trust_remote_code=training_args.trust_remote_code,
            padding_side="left",
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"`model_name_or_path` is {name!r}, which cannot be loaded: {error}") from error
