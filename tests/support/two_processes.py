"""What each of two processes runs in `test_trainer_two_processes.py`; the first argument is the output folder."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import PartialState
from trl import GRPOConfig, GRPOTrainer

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareConfig, DurationAwareTrainer

out = Path(sys.argv[1])
scenario = sys.argv[2]
state = PartialState(cpu=True)
rank = state.process_index


def reward(completions, log_extra=None, **kwargs):
    rows = len(completions)
    seconds = {
        "unequal": [10.0**rank + sum(map(ord, text)) % 5 for text in completions],
        "equal": [0.3] * rows,
        "lost": [1.0 + rank + sum(map(ord, text)) % 5 for text in completions],
        "plain": [],
        "short_on_one_rank": [1.0] * (rows - rank),
    }[scenario]
    if scenario != "plain":
        log_extra("action_duration", seconds)
    rewards: list[float | None] = [float(sum(map(ord, text)) % 17) for text in completions]
    if scenario == "lost":
        log_extra("action_censored", [rank == 1 and row == 0 for row in range(rows)])
        rewards[0] = None if rank == 1 else rewards[0]
    return rewards


class Recording(DurationAwareTrainer):
    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        self.seen = {
            "effective": output["advantages"].tolist(),
            "plain": list(self._logs["advantages"]),
            "durations": self._durations.tolist(),
            "memory": self.inclusion.memory.state_dict(),
        }
        return output


plain = scenario == "plain"
args = tiny_args(
    out / scenario,
    GRPOConfig if plain else DurationAwareConfig,
    per_device_train_batch_size=4,
    max_steps=2,
    **({"duration_weighting": "inverse_inclusion"} if scenario == "lost" else {}),
)
trainer = (GRPOTrainer if plain else Recording)(
    model=tiny_model(), reward_funcs=reward, args=args, train_dataset=tiny_dataset(), processing_class=tiny_tokenizer()
)
result: dict = {"world": trainer.accelerator.num_processes}
try:
    trainer.train()
    result["losses"] = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    result["weights"] = float(sum(p.double().sum() for p in trainer.model.parameters()))
    result["seen"] = getattr(trainer, "seen", None)
    torch.save(trainer.accelerator.unwrap_model(trainer.model).state_dict(), out / f"{scenario}_{rank}.pt")
except ValueError as error:
    result["error"] = str(error)
(out / f"{scenario}_{rank}.json").write_text(json.dumps(result))
# Everything is written. Threads of gloo may abort a process whose peer has gone before it.
with suppress(RuntimeError):
    torch.distributed.barrier()
os._exit(0)
