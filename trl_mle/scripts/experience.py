"""Self-improvement and curriculum of a run, from its settings: the store of earlier solutions, and what groups are asked."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from trl_mle.config import ExperienceConfig
from trl_mle.curriculum import ExperiencePrompts
from trl_mle.curriculum.retrieved_examples import RetrievedExamples
from trl_mle.errors import ConfigError, UserError
from trl_mle.experience import STORE_FILE, ExperienceStore
from trl_mle.prompts import PromptBudget, build_prompt
from trl_mle.scripts.build import PreparedRun
from trl_mle.scripts.checkpoints import resume_from, starts_or_resumes
from trl_mle.scripts.curriculum import make_curriculum
from trl_mle.tasks import load_task
from trl_mle.training.rollout_writer import path_aside
from trl_mle.types import TaskSpec


def check_experience(mle_args: Any, training_args: Any) -> None:
    """Raise `ConfigError` if there is no experience to start from, or if it lies in the folder that a new run moves aside.

    Experience that no prompt shows is told, and no error: one setting turns self-improvement off for a comparison.
    """
    config = mle_args.experience_config()
    if not config.is_used and config.experience_from is not None and training_args.process_index == 0:
        print(
            f"`experience_from` {config.experience_from!r} has no effect: no prompt shows an earlier solution. Set "
            "`improve_fraction` (0.5 in the paper), `debug_fraction` or `retrieved_examples`.",
            file=sys.stderr,
        )
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
    from trl_mle.training.distributed import raised_on_all

    config, curriculum = mle_args.experience_config(), make_curriculum(mle_args, run.tasks)
    if not config.is_used:
        return None if curriculum is None else ExperiencePrompts(run.tasks, None, config, task_chooser=curriculum)
    budget = PromptBudget.of_tokenizer(run.tokenizer, config.max_prompt_tokens, training_args.chat_template_kwargs)
    for task in run.tasks.values():
        build_prompt(task, budget=budget)
    # The main process fills the cache of prepared tasks before the others read it.
    with training_args.main_process_first(local=False, desc="preparing the tasks of examples"):
        others = _retrieved_tasks(config, run)
    store = examples = None
    with raised_on_all():
        if training_args.process_index == 0:
            store = open_store(config, run, is_restart=starts_or_resumes(training_args), others=others)
            if config.retrieved_examples:
                every = {**run.tasks, **others}
                examples = RetrievedExamples(every, config.retrieved_examples, config.retrieved_form, budget)
    return ExperiencePrompts(run.tasks, store, config, budget, training_args.seed, curriculum, examples)


def _retrieved_tasks(config: ExperienceConfig, run: PreparedRun) -> dict[str, TaskSpec]:
    """The tasks of `retrieved_tasks` by their names.

    Raises:
        ConfigError: no other task than the one of the run can be shown.
        TaskError: there is no such task.
    """
    others = {name: load_task(name) for name in config.retrieved_tasks or () if name not in run.tasks}
    if config.retrieved_examples and len({task.id for task in (*run.tasks.values(), *others.values())}) < 2:
        raise ConfigError(
            f"`retrieved_examples` is {config.retrieved_examples}, but the run has one task and examples are solutions of other "
            "tasks. Name some in `retrieved_tasks`, with an `experience_from` that has solutions of them."
        )
    return dict(others)


def open_store(
    config: ExperienceConfig,
    run: PreparedRun,
    is_restart: bool = False,
    others: Mapping[str, TaskSpec] | None = None,
) -> ExperienceStore:
    """The store of the run: the one of its checkpoint, or a new one that begins with the experience of another run.

    Args:
        config ([`ExperienceConfig`]):
            Path, and experience to begin with.
        run ([`PreparedRun`]):
            Folder, checkpoint and tasks.
        is_restart (`bool`, *optional*, defaults to `False`):
            Whether a run without a checkpoint may be the second start of one that was killed before its first checkpoint
            (`resume_from_checkpoint: auto`). Its store is moved aside, as its `output_dir` is.
        others (mapping from `str` to [`TaskSpec`], *optional*):
            Further tasks whose experience is taken.

    Raises:
        ConfigError: a new run is given the store of an earlier one, or a store cannot be used.
    """
    path = run.folder / STORE_FILE if config.experience_path is None else Path(config.experience_path)
    if run.checkpoint is None and path.exists() and not _is_empty(path):
        # One in `output_dir` has been moved aside with its run.
        if not is_restart:
            raise ConfigError(
                f"`experience_path` is {str(path)!r}, which holds the store of an earlier run. Name a new file, and set "
                "`experience_from` to begin with that experience."
            )
        _move_aside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    store = ExperienceStore(path)
    if run.checkpoint is None and config.experience_from is not None:
        try:
            taken = [task.id for task in (*run.tasks.values(), *(others or {}).values())]
            count = store.import_from(config.experience_from, tasks=taken)
        except UserError:
            store.close()
            path.unlink()
            raise
        print(f"The run begins with {count} earlier outcomes of {config.experience_from}.", file=sys.stderr)
    return store


def _is_empty(path: Path) -> bool:
    """Whether a store holds nothing, as after a start that ended before training, for example at a wrong setting."""
    if path.stat().st_size == 0:  # as `tempfile` makes one
        return True
    with closing(ExperienceStore(path, read_only=True)) as store:
        return len(store) == 0


def _move_aside(path: Path) -> None:
    """Rename a store, with the log that a killed process has left beside it."""
    target = path_aside(path)
    for suffix in ("", "-wal", "-shm"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(target.with_name(target.name + suffix))
    print(f"The store of an earlier start is now {target}.", file=sys.stderr)


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
