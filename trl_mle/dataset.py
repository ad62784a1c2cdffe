"""The data set of a run: one row a prompt, with the task that it asks for."""

from __future__ import annotations

from collections.abc import Mapping

from datasets import Dataset

from trl_mle.prompts import build_prompt
from trl_mle.types import TaskSpec

BATCHES_PER_EPOCH = 8


def prompts_dataset(tasks: Mapping[str, TaskSpec], prompts: int) -> Dataset:
    """Rows `{"prompt": messages, "task": name}`, every task in equal shares.

    Args:
        tasks (mapping from name to [`TaskSpec`]):
            What to ask for. The name is what the reward function loads the task by.
        prompts (`int`):
            Distinct prompts of a generation batch (`generation_batch_size / num_generations`). An epoch has
            eight times as many rows for each task, so that whole generation batches fill it.
    """
    rows = [{"prompt": build_prompt(task), "task": name} for name, task in tasks.items()]
    return Dataset.from_list(rows * (prompts * BATCHES_PER_EPOCH))
