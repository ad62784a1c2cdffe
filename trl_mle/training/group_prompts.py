"""Which dataset row each group of a generation batch is generated for: the protocol, and the part of the trainer that asks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from accelerate.utils import broadcast_object_list, gather_object

from trl_mle.errors import ConfigError
from trl_mle.training.distributed import raise_together
from trl_mle.training.parts import TrainerPart

logger = logging.getLogger(__name__)


class GroupPrompts(Protocol):
    """Chooses the prompt of every group, and learns from what was scored. All methods run on the main process only."""

    def choose(self, rows: list[dict[str, Any]], generation: int) -> Sequence[Mapping[str, Any]]:
        """The dataset rows to generate for in place of `rows`.

        Args:
            rows (`list[dict]`):
                One row per group of the global generation batch, in order, as the data set has them.
            generation (`int`):
                Generation batches before this one, over the whole run.

        Returns:
            As many rows, all with the same keys, among them `prompt`. Other keys are arguments of the reward functions.
        """
        ...

    def observe(self, columns: Mapping[str, list]) -> Mapping[str, float]:
        """Take in a global batch that is trained on: column -> `B` values, as the rollouts have them.

        Returns:
            Metrics to log: whole name -> value.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: values that `torch.load(weights_only=True)` reads back."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        ...


class GroupPromptsPart(TrainerPart):
    """Asks a [`GroupPrompts`] on the main process, and gives each process its rows of the answer.

    All completions of a group get the same row, also if the group lies on two processes. An error is raised on all processes.
    One of `observe`, which only the main process calls, is raised at the next generation or checkpoint, where all of them meet.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer that it is a part of: it says how many completions a group has, and logs the metrics.
        group_prompts ([`GroupPrompts`]):
            Is asked on the main process. The other processes have one as well, and do not use it.
    """

    def __init__(self, trainer: Any, group_prompts: GroupPrompts):
        self._trainer = trainer
        self._group_prompts = group_prompts
        self._generation = 0
        self._error: Exception | None = None

    def before_generation(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        accelerator, size = self._trainer.accelerator, self._trainer.num_generations
        first = accelerator.process_index * len(rows)
        # A group's first row stands for it: the sampler repeats one row for the whole group.
        of_groups = gather_object([row for place, row in enumerate(rows, first) if place % size == 0])
        error, self._error = self._error, None
        chosen: list[Any] = [None]
        if accelerator.is_main_process and error is None:
            try:
                chosen = [_checked(self._group_prompts.choose(of_groups, self._generation), len(of_groups))]
            except Exception as raised:
                error = raised
        raise_together(error)
        broadcast_object_list(chosen)
        self._generation += 1
        return [dict(chosen[0][place // size]) for place in range(first, first + len(rows))]

    def observe(self, columns: Mapping[str, list], mode: str) -> None:
        # An evaluation asks for the prompts of its own data set.
        if mode != "train":
            return
        try:
            observed = self._group_prompts.observe(columns)
            metrics = {name: float(value) for name, value in observed.items()}
        except Exception as error:
            # Only the main process is here: raised now, the error would leave the others waiting in their next collective.
            if self._trainer.accelerator.num_processes == 1:
                raise
            logger.exception("The prompts of groups failed; training stops at the next generation or checkpoint")
            self._error = self._error or error
            return
        for name, value in metrics.items():
            self._trainer._metrics["train"][name].append(value)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"generation": self._generation}
        # Errors of a checkpoint are raised on all processes (`TrainerParts`).
        if self._trainer.accelerator.is_main_process:
            if self._error is not None:
                raise self._error
            state["group_prompts"] = self._group_prompts.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._generation = state["generation"]
        if self._trainer.accelerator.is_main_process and "group_prompts" in state:
            self._group_prompts.load_state_dict(state["group_prompts"])


def _checked(rows: Sequence[Mapping[str, Any]], count: int) -> list[dict[str, Any]]:
    """`rows` as dictionaries.

    Raises:
        ConfigError: another number of rows than `count`, a row without a prompt, or rows with different keys.
    """
    checked = [dict(row) for row in rows]
    if len(checked) != count:
        raise ConfigError(
            f"`choose` of the group prompts returned {len(checked)} rows for {count} groups; return one each."
        )
    for row in checked:
        if "prompt" not in row:
            raise ConfigError(
                f"`choose` of the group prompts returned a row without `prompt`; its keys are {list(row)}."
            )
        # TRL reads the names of the columns from the first row of each process.
        if row.keys() != checked[0].keys():
            raise ConfigError(
                f"`choose` of the group prompts returned rows with the keys {sorted(checked[0])} and {sorted(row)}; give all "
                "rows the same keys, with `None` for missing values."
            )
    return checked
