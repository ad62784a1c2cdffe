"""What each of two processes runs for `test_trainer_two_processes.py`.

Each process runs all scenarios, and writes what it saw to `OUT/<scenario>_<rank>.pt`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import PartialState
from trl import GRPOConfig, GRPOTrainer

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareConfig, DurationAwareTrainer

SCENARIOS = ("unequal", "equal", "plain", "lost", "short_on_one_rank")


def reward_of(scenario: str, rank: int):
    def reward(completions, log_extra=None, **kwargs):
        rows = len(completions)
        seconds = {
            # The second process's programs are slower, so that a mean over one process could not pass.
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

    return reward


class Recording(DurationAwareTrainer):
    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        self.seen = {
            "effective": output["advantages"].tolist(),
            "plain": list(self._logs["advantages"]),
            "durations": self._scored.reported.durations.tolist(),
            "memory": self.weighting.state_dict(),
        }
        return output


def train(scenario: str, rank: int, out: Path) -> dict:
    plain = scenario == "plain"
    trainer = (GRPOTrainer if plain else Recording)(
        model=tiny_model(),
        reward_funcs=reward_of(scenario, rank),
        args=tiny_args(
            out / scenario,
            GRPOConfig if plain else DurationAwareConfig,
            per_device_train_batch_size=4,
            max_steps=2,
            **({"duration_weighting": "inverse_inclusion"} if scenario == "lost" else {}),
        ),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    result: dict = {"world": trainer.accelerator.num_processes}
    try:
        trainer.train()
    except ValueError as error:
        return {**result, "error": str(error)}
    return {
        **result,
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "seen": getattr(trainer, "seen", None),
        "model": trainer.accelerator.unwrap_model(trainer.model).state_dict(),
    }


def main(out: Path) -> None:
    rank = PartialState(cpu=True).process_index
    for scenario in SCENARIOS:
        torch.save(train(scenario, rank, out), out / f"{scenario}_{rank}.pt")
