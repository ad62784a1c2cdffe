"""`prompts_dataset`: the training data set of a run, made of tasks and their prompts.

The module stands above the stages because it loads tasks and builds prompts, and stages do not import each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.prompts import build_prompt
from trl_mle.tasks import load_task
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    from datasets import Dataset

BATCHES_PER_EPOCH = 8
"""Generation batches of an epoch, per task."""


def prompts_dataset(
    tasks: Mapping[str, TaskSpec] | Iterable[TaskSpec | str | Path] | TaskSpec | str | Path, prompts: int = 8
) -> Dataset:
    """The training data set of a run, with as many rows of each task.

    Args:
        tasks (mapping from `str` to [`Task`], or sequence of [`Task`] and `str`):
            Tasks to ask for: a mapping from name to task, or a sequence (or a single one) of tasks and of names that
            [`load_task`] knows, such as `"builtin:digits"`. [`MLEReward`] finds the task of a row by its name: pass the same
            mapping to its `tasks`. A task of a sequence has its `id` as its name; if the task is not a built-in one, pass
            `tasks={task.id: task}` to `MLEReward`.
        prompts (`int`, *optional*, defaults to `8`):
            Distinct prompts per generation batch (`generation_batch_size // num_generations`). An epoch has 8 generation
            batches per task. A data set with fewer rows than one generation batch would give TRL's sampler no batch at all.

    Returns:
        `datasets.Dataset`: `len(tasks) * prompts * 8` rows with the columns

        - `prompt`: chat messages `[{"role": "system", "content": ...}, {"role": "user", "content": ...}]` of
          [`build_prompt`];
        - `task` (`str`): name of the task.

    Raises:
        ConfigError: `tasks` is empty, names a task twice or holds something else; or `prompts` is below 1.
        TaskError: there is no task of a name, or a public file of a task cannot be read.

    Example:

    ```python
    train_dataset = prompts_dataset(["builtin:digits", "./my_task"])
    ```
    """
    from datasets import Dataset

    if prompts < 1:
        raise ConfigError(f"`prompts` is {prompts}; it must be 1 or more.")
    return Dataset.from_list(_rows(tasks) * (prompts * BATCHES_PER_EPOCH))


def evaluation_dataset(
    tasks: Mapping[str, TaskSpec] | Iterable[TaskSpec | str | Path] | TaskSpec | str | Path,
) -> Dataset:
    """The data set of evaluations during training: one row per task, with the columns of [`prompts_dataset`].

    TRL generates `num_generations_eval` completions per row. Their rewards come from the public part of the answers, as in
    training (`reward_split`). The private part has no say in which checkpoint is the best.

    Raises:
        ConfigError, TaskError: as [`prompts_dataset`].
    """
    from datasets import Dataset

    return Dataset.from_list(_rows(tasks))


def _rows(
    tasks: Mapping[str, TaskSpec] | Iterable[TaskSpec | str | Path] | TaskSpec | str | Path,
) -> list[dict[str, Any]]:
    """One row per task."""
    rows = [{"prompt": build_prompt(task), "task": name} for name, task in tasks_by_name(tasks).items()]
    if not rows:
        raise ConfigError("`tasks` is empty; give at least one task, such as 'builtin:digits'.")
    return rows


def tasks_by_name(
    tasks: Mapping[str, TaskSpec] | Iterable[TaskSpec | str | Path] | TaskSpec | str | Path,
) -> dict[str, TaskSpec]:
    """Name -> task, as [`prompts_dataset`] takes them; names are loaded.

    Raises:
        ConfigError: a task stands twice in `tasks`, or something that is no task.
        TaskError: there is no task of a name.
    """
    if isinstance(tasks, Mapping):
        return dict(tasks)
    by_name: dict[str, TaskSpec] = {}
    # A text is a sequence too: of its characters.
    for item in [tasks] if isinstance(tasks, (str, Path, TaskSpec)) else tasks:
        if not isinstance(item, (str, Path, TaskSpec)):
            raise ConfigError(
                f"`tasks` holds {item!r} of type {type(item).__name__}; give tasks, or names such as 'builtin:digits'."
            )
        name = item.id if isinstance(item, TaskSpec) else str(item)
        if name in by_name:
            raise ConfigError(f"`tasks` names {name!r} twice; leave one out, or change `id` in a task.yaml.")
        by_name[name] = item if isinstance(item, TaskSpec) else load_task(item)
    return by_name
