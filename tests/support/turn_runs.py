"""Runs of agents with up to four turns, through TRL's own tool loop, with known rewards and seconds of each turn.

    python -m tests.support.turn_runs OUT NAME [NAME ...]     # one process of several; NAME is a key of `CASES`

The policy calls a tool as often as its row says. One rollout is cut in the middle of an action, one has a tool result that does
not fit any more, one has no room for a token after its tool result, and one lost its reward to a fault.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tests.support import drop_in_tools as tools
from tests.support.loss_cases import LEARNING_RATE, Snapshots
from tests.support.tiny import tiny_args, tiny_model
from trl_mle import DurationAwareTrainer

LENGTH = 236
"""`max_completion_length`, in bytes: about four turns."""
CALLS = (0, 1, 2, 3, 1, 2, 0, 1)
"""Tool calls of each row of the global batch of 8: actions less one, except where there is no room for an answer or after it."""
CUT, NO_ROOM, FULL, FAULT = 5, 7, 4, 6
"""Rows: the last action is cut by `LENGTH`; the answer to the last call is longer than what is left; it is exactly as long; no
reward."""
SECONDS = (
    [1.0],
    [2.0, 0.5],
    [0.2, 4.0, 1.0],
    [3.0, None, 2.0, 0.1],
    [6.0],
    [2.0, 5.0, None],
    [1.5],
    [0.7],
)
EARNED = (
    [0.5],
    [-0.2, 1.0],
    [0.3, 0.0, 0.9],
    [0.1, 0.6, -0.4, 0.2],
    [0.4],
    [1.1, -0.3, 0.25],
    [None],
    [0.15],
)
REST = (0.0, 0.1, 0.0, -0.2, 0.0, 0.05, None, 0.0)
"""What the reward of a rollout has beside what its actions earned. `None`: there is no reward."""

CASES: dict[str, dict[str, Any]] = {
    "proportional": {"turn_credit": "return"},
    "episode": {"turn_credit": "episode"},
    "none": {"turn_credit": "return", "duration_weighting": "none"},
    "inverse": {
        "turn_credit": "return",
        "duration_weighting": "inverse_inclusion",
        "duration_rule": "window:20/even",
    },
    "clipped": {"turn_credit": "return", "duration_exponent": 0.5, "duration_clip": 1.5, "duration_floor_s": 0.3},
    "masked": {"turn_credit": "return", "mask_truncated_completions": True},
    "unscaled": {"turn_credit": "return", "scale_rewards": "none", "turn_discount": 0.9},
    "by batch": {"turn_credit": "return", "scale_rewards": "batch", "loss_type": "dapo"},
}


def answer(row: int, turn: int) -> str:
    """What the environment says to the call of `turn`."""
    # The template puts an answer into brackets, and the beginning of the next message behind it.
    room = LENGTH - len(tools.tokenizer()(written(row, 0) + "[]<a>")["input_ids"])
    return "x" * {NO_ROOM: room + 1, FULL: room}.get(row, 3 + row + turn)


class Environment:
    """An environment with one tool, which knows its row from the call."""

    def reset(self, **kwargs) -> None:
        self.turn = 0

    def add(self, x: int) -> str:
        """
        Runs a program.

        Args:
            x: The row.

        Returns:
            What the program printed.
        """
        self.turn += 1
        return answer(x, self.turn)


def written(row: int, turn: int) -> str:
    if turn < CALLS[row]:
        return f'<call>{{"name": "add", "arguments": {{"x": {row}}}}}</call>' + "." * turn + "<|im_end|>"
    return "done" + "," * (LENGTH if row == CUT else row) + "<|im_end|>"


def calling_model(first_row: int):
    """The tiny model with the completions of the rows from `first_row` on, whatever its weights are."""
    model, encode = tiny_model(), tools.tokenizer()

    def generate(input_ids, **kwargs):
        rows = []
        for index, text in enumerate(encode.batch_decode(input_ids)):
            # After its first turn a row is known by its calls; before, all rows are there in order.
            calls = text.count("<call>")
            row = int(text.partition('"x": ')[2][0]) if calls else first_row + index
            rows.append(encode(written(row, calls))["input_ids"][:LENGTH])
        length = max(map(len, rows))
        padded = [row + [encode.pad_token_id] * (length - len(row)) for row in rows]
        return torch.cat([input_ids, torch.tensor(padded)], dim=1)

    model.generate = generate
    return model


def reward_of(first_row: int):
    def reward(completions, log_extra, **kwargs):
        rows = range(first_row, first_row + len(completions))
        log_extra("per_action_durations", [list(SECONDS[row]) for row in rows])
        log_extra("per_action_rewards", [list(EARNED[row]) for row in rows])
        return [total(row) for row in rows]

    return reward


def total(row: int) -> float | None:
    rest = REST[row]
    return None if rest is None else sum(EARNED[row]) + rest


class Recording(DurationAwareTrainer):
    """Keeps what the loss is computed on, by row of the global batch."""

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        first = self.accelerator.process_index * len(inputs)
        output["row"] = torch.arange(first, first + len(inputs))
        self.seen = {name: value.clone() for name, value in output.items() if isinstance(value, torch.Tensor)}
        self.completions = list(self._logs["completion"])[-8:]
        return output


def run(name: str, folder: Path, **changes) -> dict[str, Any]:
    """One optimizer step. Returns the record of this process."""
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    snapshots, own_rows = Snapshots(), 8 // processes
    settings = {
        "per_device_train_batch_size": own_rows,
        "num_generations": 4 if processes == 1 else 8,
        "max_completion_length": LENGTH,
        "max_steps": 1,
        "optim": "sgd",
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "loss_type": "dr_grpo",
        "shuffle_dataset": False,
        **CASES[name],
        **changes,
    }
    trainer = Recording(
        model=calling_model(rank * own_rows),
        reward_funcs=reward_of(rank * own_rows),
        args=tiny_args(folder / name.replace(" ", "_"), **settings),
        train_dataset=tools.conversations(),
        processing_class=tools.tokenizer(),
        environment_factory=Environment,
        callbacks=[snapshots],
    )
    snapshots.trainer = trainer
    trainer.train()
    return {
        "seen": trainer.seen,
        "completions": trainer.completions,
        "states": snapshots.states,
        "log": trainer.state.log_history,
        "group": settings["num_generations"],
    }


def main(out: Path, names: list[str]) -> None:
    from accelerate import PartialState

    rank = PartialState(cpu=True).process_index
    for name in names:
        torch.save(run(name, out / "runs"), out / f"{name}_{rank}.pt")
    # Everything is written. Threads of gloo may abort a process whose peer has gone before it.
    with suppress(RuntimeError):
        torch.distributed.barrier()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
