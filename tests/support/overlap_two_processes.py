"""What each of two processes runs for `test_overlap_two_processes.py`.

A group lies on both processes. Each process writes what it trained on to `OUT/<rank>.pt`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import torch
from accelerate import PartialState

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.training.overlap.test_overlap import Recording, letters, logps_under

SLOW_S, NEVER_S = 2.0, 3600.0
SCENARIOS = ("late", "slow", "slow_in_a_thread", "actions", "resumed")


def code(text: str) -> int:
    return sum(map(ord, text))


def seconds(text: str) -> float:
    return 0.3 if code(text) % 5 == 0 else 0.01 + code(text) % 3 / 100


def reward_of(scenario: str, rank: int):
    calls = itertools.count()

    def last_chance() -> int:
        """Step at which a program ends: for one of each of the first two groups, on the second process, as late as it may."""
        return {0: 3, 5: 4}.get(next(calls), 0) if rank == 1 and scenario.startswith("slow") else 0

    async def late(completions, log_extra, trainer_state, **kwargs):
        (text,) = completions
        slow_until = last_chance()
        while trainer_state.global_step < slow_until:
            await asyncio.sleep(0.01)
        # Programs of the last batch run when the process ends, and take a moment to stop.
        left_running = scenario == "resumed" and trainer_state.global_step == 9
        try:
            await asyncio.sleep(NEVER_S if left_running else seconds(text))
        except asyncio.CancelledError:
            await asyncio.sleep(1.0 if left_running else 0.0)
            raise
        log_extra("action_duration", [SLOW_S if slow_until else seconds(text)])
        return letters(completions)

    def in_a_thread(completions, log_extra, trainer_state, **kwargs):
        slow_until = last_chance()
        while trainer_state.global_step < slow_until:
            time.sleep(0.01)
        if trainer_state.global_step == 9:
            time.sleep(NEVER_S)
        log_extra("action_duration", [SLOW_S if slow_until else seconds(completions[0])])
        return letters(completions)

    def actions(completions, completion_ids, log_extra, **kwargs):
        # Process 1 has slow actions, so that a mean over one process could not pass.
        log_extra("per_action_durations", [[1.0 + 5 * rank, 1.0 + 9 * rank + code(text) % 4] for text in completions])
        log_extra("action_tokens", [[3, len(ids) - 3] for ids in completion_ids])
        return letters(completions)

    return {"slow_in_a_thread": in_a_thread, "actions": actions}.get(scenario, late)


def train(scenario: str, rank: int, folder: Path) -> dict:
    trainer = Recording(
        model=tiny_model(),
        reward_funcs=reward_of(scenario, rank),
        args=tiny_args(
            folder,
            per_device_train_batch_size=4,
            num_generations=8,
            steps_per_generation=1,
            max_steps=2 if scenario == "actions" else 10,
            overlap_execution=scenario != "actions",
            overlap_batches=3,
            max_staleness=4,
            **({"save_strategy": "steps", "save_steps": 4} if scenario in ("late", "resumed") else {}),
        ),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=str(folder / "checkpoint-4") if scenario == "resumed" else None)
    took_s = time.monotonic() - began
    written_by = dict(reversed(trainer.generated))
    differences = [0.0]
    for batch, extra, _ in trainer.batches if scenario in ("late", "slow", "slow_in_a_thread") else ():
        local_rows = slice(4 * rank, 4 * rank + 4)
        for row, born in enumerate(extra["generated_at_step"][local_rows]):
            mask = batch["completion_mask"][row]
            expected = logps_under(written_by[born], batch)[row]
            differences.append(float(((batch["old_per_token_logps"][row] - expected) * mask).abs().max()))
    return {
        "took_s": took_s,
        "old_logps_differ_by": max(differences),
        "advantages": [batch["advantages"] for batch, _, _ in trainer.batches],
        "batches": len(trainer.batches),
        "parameters": float(sum(p.double().sum() for p in trainer.model.parameters())),
    }


def main(out: Path) -> None:
    rank = PartialState(cpu=True).process_index
    torch.save(
        {scenario: train(scenario, rank, out / scenario.replace("resumed", "late")) for scenario in SCENARIOS},
        out / f"{rank}.pt",
    )
