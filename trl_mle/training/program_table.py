"""A table of the best and the worst programs of a batch, for the trackers of `report_to`: Weights & Biases, trackio, TensorBoard.

TRL's `log_completions` sends every completion of a batch with every column. This table is short enough to be looked at while a
run goes on.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from trl_mle.training.parts import TrainerPart

logger = logging.getLogger(__name__)

NAME = "programs/best_and_worst"
COLUMNS = (
    "task_id",
    "kind",
    "public_score",
    "action_duration",
    "milestones",
    "duration_weight",
    "advantage",
    "program",
    "stderr",
)
"""Columns of rollouts that the table shows, if a run has them. A run without `program` shows the completion."""
TEXT_CHARACTERS = 6000
"""Most characters of a cell: the end of a traceback, the beginning of a program."""
Row = dict[str, Any]


class ProgramTable(TrainerPart):
    """Keeps the best and worst programs of the newest training batch, and sends them with the next log.

    Args:
        count (`int`):
            How many of the best, and how many of the worst.
        rewards (function without arguments):
            The rewards of the newest global batch, shape `(B,)`; NaN for a completion without one.
        trackers (function without arguments):
            The callbacks of the trainer, among them that of TensorBoard, which owns the writer.
    """

    def __init__(
        self, count: int, rewards: Callable[[], torch.Tensor], trackers: Callable[[], Sequence[TrainerCallback]]
    ):
        self._count = count
        self._rewards = rewards
        self._trackers = trackers
        self._rows: list[Row] = []
        self._failed = False

    def observe(self, columns: Mapping[str, list], mode: str) -> None:
        if mode == "train":
            self._rows = best_and_worst(columns, self._rewards().tolist(), self._count)

    def callback(self) -> TrainerCallback:
        """The callback that sends the table."""
        return _SendTable(self)

    def send(self, trackers: Sequence[str], step: int) -> None:
        """Send the table to `trackers`, once. A tracker that fails must not end a run: it is warned of, and no table follows."""
        rows, self._rows = self._rows, []
        if not rows or self._failed:
            return
        writer = next(filter(None, (getattr(callback, "tb_writer", None) for callback in self._trackers())), None)
        try:
            for name in trackers:
                _SENDERS[name](rows, writer, step)
        except Exception as error:
            self._failed = True
            logger.warning("The table of programs cannot be logged: %s: %s", type(error).__name__, error)


class _SendTable(TrainerCallback):
    """Comes after the trackers' own callbacks, which open their runs."""

    def __init__(self, table: ProgramTable):
        self._table = table

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero:
            trackers = [name for name in args.report_to or () if name in _SENDERS]
            self._table.send(trackers, state.global_step)


def best_and_worst(columns: Mapping[str, list], rewards: Sequence[float], count: int) -> list[Row]:
    """The `count` rows with the highest and with the lowest rewards, best first; each row once, those without a reward never.

    Equal programs of equal reward stand once.
    """
    known = [place for place, reward in enumerate(rewards) if not math.isnan(reward)]
    ordered = sorted(known, key=lambda place: -rewards[place])
    distinct = list({(rewards[place], _text_of(columns, place)): place for place in reversed(ordered)}.values())[::-1]
    places = distinct if len(distinct) <= 2 * count else [*distinct[:count], *distinct[-count:]]
    return [{"reward": rewards[place], **_row(columns, place)} for place in places]


def _row(columns: Mapping[str, list], place: int) -> Row:
    names = [name for name in COLUMNS if name in columns]
    if "program" not in names:
        names.append("completion")
    return {"step": columns["step"][place], **{name: _cell(name, columns[name][place]) for name in names}}


def _text_of(columns: Mapping[str, list], place: int) -> str:
    program = columns["program"][place] if "program" in columns else None
    return program if isinstance(program, str) else str(columns["completion"][place])


def _cell(name: str, value: Any) -> Any:
    """A number or short text: lists are counted, and long texts cut."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if name == "milestones" and isinstance(value, (list, tuple)):
        return len(value)
    text = value if isinstance(value, str) else str(value)
    return text[-TEXT_CHARACTERS:] if name == "stderr" else text[:TEXT_CHARACTERS]


def _send_to_wandb(rows: Sequence[Row], writer: Any, step: int) -> None:
    import wandb

    if wandb.run is not None:
        names = list(rows[0])
        wandb.log({NAME: wandb.Table(columns=names, data=[[row[name] for name in names] for row in rows])})


def _send_to_trackio(rows: Sequence[Row], writer: Any, step: int) -> None:
    import pandas as pd
    import trackio

    trackio.log({NAME: trackio.Table(dataframe=pd.DataFrame(list(rows)))})


def _send_to_tensorboard(rows: Sequence[Row], writer: Any, step: int) -> None:
    if writer is not None:
        writer.add_text(NAME, as_markdown(rows), step)


def as_markdown(rows: Sequence[Row]) -> str:
    """Rows as Markdown, each with its texts as indented blocks, in which nothing is markup."""
    return "\n\n".join(_block(row) for row in rows)


def _block(row: Row) -> str:
    short = {name: value for name, value in row.items() if not isinstance(value, str) or "\n" not in value}
    facts = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in short.items()
    )
    parts = [facts, *(f"{name}\n{value}" for name, value in row.items() if name not in short)]
    return "\n\n---\n\n".join("\n".join(f"    {line}" for line in part.splitlines()) for part in parts)


_SENDERS: dict[str, Callable[[Sequence[Row], Any, int], None]] = {
    "wandb": _send_to_wandb,
    "trackio": _send_to_trackio,
    "tensorboard": _send_to_tensorboard,
}
