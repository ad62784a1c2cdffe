"""`TrainerPart`: the places where a part of [`DurationAwareTrainer`] has a say, besides the weighting and the overlap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trl_mle.training.distributed import raised_on_all
from trl_mle.training.resume.manifest import PARTS


class TrainerPart:
    """Base class of the parts of a trainer. Each method does nothing unless a part overrides it.

    All methods are called on every process, in the order in which the parts were added, except [`observe`]. What a part
    decides must be the same on every process, or follow from what all of them know.
    """

    def before_generation(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The dataset rows to generate for, in training: this process's `b` rows of the global generation batch.

        The rows of a group are neighbours in the global batch, and may lie on two processes. With `overlap_execution` the
        method is called once for each batch that is launched.
        """
        return rows

    def after_scoring(self, output: dict[str, Any], mode: str) -> dict[str, Any]:
        """What is trained on, after the weighting: TRL's dictionary of this process's tensors, shape `(b, ...)`.

        Args:
            output (`dict`):
                Result of `GRPOTrainer._generate_and_score_completions`, with weighted advantages.
            mode (`str`):
                `"train"` or `"eval"`.
        """
        return output

    def observe(self, columns: Mapping[str, list], mode: str) -> None:
        """The rollouts of a global batch as they are kept: column name -> `B` values. On the main process only."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this part and this process: values that `torch.load(weights_only=True)` reads back."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned on this process."""


class TrainerParts:
    """The parts of a trainer, by the name that their state has in a checkpoint."""

    def __init__(self, process_index: int):
        self._process_index = process_index
        self._parts: dict[str, TrainerPart] = {}

    def add(self, name: str, part: TrainerPart) -> None:
        """Add `part`, whose state is called `name`."""
        self._parts[name] = part

    def has(self, name: str) -> bool:
        """Whether a part of this name was added."""
        return name in self._parts

    def before_generation(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """See [`TrainerPart.before_generation`]."""
        for part in self._parts.values():
            rows = part.before_generation(rows)
        return rows

    def after_scoring(self, output: dict[str, Any], mode: str) -> dict[str, Any]:
        """See [`TrainerPart.after_scoring`]."""
        for part in self._parts.values():
            output = part.after_scoring(output, mode)
        return output

    def observe(self, columns: Mapping[str, list], mode: str) -> None:
        """See [`TrainerPart.observe`]."""
        for part in self._parts.values():
            part.observe(columns, mode)

    def save(self, folder: Path) -> None:
        """Write the state of this process's parts into the folder of a checkpoint."""
        states = {name: part.state_dict() for name, part in self._parts.items()}
        states = {name: state for name, state in states.items() if state}
        if states:
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(states, folder / self._file_name)

    def resume(self, folder: Path) -> None:
        """Read the state of this process's parts from the folder of a checkpoint. A part without a state starts anew.

        A process that the checkpoint knows nothing of, because fewer processes wrote it, reads the state of the first one: most
        parts have the same state on every process. To be called by all processes: an error of one is raised on all.
        """
        names = (self._file_name, PARTS.format(process=0))
        path = next((folder / name for name in names if (folder / name).exists()), None)
        with raised_on_all():
            # Tensors of a GPU may be read where there is none, or another one.
            states = {} if path is None else torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self._parts.items():
                if name in states:
                    part.load_state_dict(states[name])

    @property
    def _file_name(self) -> str:
        return PARTS.format(process=self._process_index)
