"""Self-improvement of a run, from its settings: the store of earlier solutions, and the prompts that show them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trl_mle.config import ExperienceConfig
from trl_mle.curriculum import ExperiencePrompts
from trl_mle.errors import ConfigError, UserError
from trl_mle.experience import STORE_FILE, ExperienceStore
from trl_mle.prompts import PromptBudget, build_prompt
from trl_mle.scripts.build import PreparedRun
from trl_mle.scripts.checkpoints import resume_from


def check_experience(mle_args: Any, training_args: Any) -> None:
    """Raise `ConfigError` if there is no experience to start from, or if it lies in the folder that a new run moves aside."""
    config = mle_args.experience_config()
    if not config.is_used or config.experience_from is None or resume_from(training_args) is not None:
        return
    source = Path(config.experience_from)
    if not source.exists():
        raise ConfigError(
            f"`experience_from` is {config.experience_from!r}, which does not exist. Give the `output_dir` of a run, the file of "
            "its store, or an export of it."
        )
    folder = Path(training_args.output_dir).resolve()
    if folder in (source.resolve(), *source.resolve().parents):
        raise ConfigError(
            f"`experience_from` {config.experience_from!r} lies in `output_dir` {training_args.output_dir!r}, which a new run "
            "moves aside. Choose another `output_dir`, or continue with `--resume_from_checkpoint true`."
        )


def make_group_prompts(mle_args: Any, training_args: Any, run: PreparedRun) -> ExperiencePrompts | None:
    """What chooses the prompts of groups, or `None` if the settings ask for none. The main process opens the store.

    Raises:
        ConfigError: the prompt of a task is longer than `max_prompt_tokens`, or the store cannot be used.
    """
    config = mle_args.experience_config()
    if not config.is_used:
        return None
    budget = PromptBudget.of_tokenizer(run.tokenizer, config.max_prompt_tokens, training_args.chat_template_kwargs)
    for task in run.tasks.values():
        build_prompt(task, budget=budget)
    store = open_store(config, run) if training_args.process_index == 0 else None
    return ExperiencePrompts(run.tasks, store, config, budget, seed=training_args.seed)


def open_store(config: ExperienceConfig, run: PreparedRun) -> ExperienceStore:
    """The store of the run: the one of its checkpoint, or a new one that begins with the experience of another run."""
    path = run.folder / STORE_FILE if config.experience_path is None else Path(config.experience_path)
    if run.checkpoint is None and path.exists():
        # One in `output_dir` has been moved aside with its run.
        raise ConfigError(
            f"`experience_path` is {str(path)!r}, which holds the store of an earlier run. Name a new file, and set "
            "`experience_from` to begin with that experience."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    store = ExperienceStore(path)
    if run.checkpoint is None and config.experience_from is not None:
        try:
            count = store.import_from(config.experience_from, tasks=[task.id for task in run.tasks.values()])
        except UserError:
            # An empty store would be taken for an earlier run's when the command is repeated.
            store.close()
            path.unlink()
            raise
        print(f"The run begins with {count} earlier outcomes of {config.experience_from}.", file=sys.stderr)
    return store


def check_context(config: ExperienceConfig, training_args: Any, model: Any) -> None:
    """Raise `ConfigError` if the longest prompt and completion do not fit into the context of the policy together."""
    text_config = model.config.get_text_config()
    sizes = {
        "the model's context": getattr(text_config, "max_position_embeddings", None),
        "`vllm_max_model_length`": training_args.vllm_max_model_length if training_args.use_vllm else None,
    }
    completion = training_args.max_completion_length or 0
    for name, size in sizes.items():
        if config.is_used and size is not None and config.max_prompt_tokens + completion > size:
            raise ConfigError(
                f"`max_prompt_tokens`={config.max_prompt_tokens} and `max_completion_length`={completion} are more than {name} "
                f"of {size} tokens. Lower `max_prompt_tokens` to {size - completion} or less."
                if size > completion
                else f"`max_completion_length`={completion} leaves no room for a prompt in {name} of {size} tokens."
            )
