"""A run that kills itself as `kill -9` would, at a place that is named, or resumes from what is left.

`python -m tests.support.killed_run OUT SCENARIO [PLACE N RANK]`: the process of that rank ends at the N-th time that it comes
to PLACE. Each process that comes to the end writes its weights to `OUT/final_<rank>.pt`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import TrainerCallback

from tests.support.tiny import tiny_args, tiny_model, tiny_tokenizer
from tests.support.training_runs import letters, unequal
from trl_mle import DurationAwareTrainer
from trl_mle.scripts.checkpoints import resume_from
from trl_mle.scripts.run_dir import RunRecorder

PLACES = ("reward", "micro_step", "step", "open")
STEPS = 10


class Death:
    """Ends the process at the N-th call for a place."""

    def __init__(self, place: str, number: int):
        self.place, self.left = place, number

    def comes_to(self, place: str) -> None:
        if place == self.place:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple) -> None:
        """Of `sys.addaudithook`: a file of a checkpoint is opened to be written, so that there is half a checkpoint."""
        if event == "open" and "checkpoint-" in str(arguments[0]) and set(str(arguments[1])) & set("wax+"):
            self.comes_to("open")


class Dying(TrainerCallback):
    def __init__(self, death: Death):
        self.death = death

    def on_substep_end(self, args, state, control, **kwargs):
        self.death.comes_to("micro_step")

    def on_step_end(self, args, state, control, **kwargs):
        self.death.comes_to("step")


def reward_of(scenario: str, death: Death):
    def reward(completions, log_extra, **kwargs):
        death.comes_to("reward")
        log_extra("action_duration", unequal(completions))
        # Censored and without a reward: lost by duration, which the weighting learns from.
        lost = [sum(map(ord, text)) % 7 == 0 for text in completions]
        log_extra("action_censored", lost)
        return [None if gone else value for gone, value in zip(lost, letters(completions), strict=True)]

    async def overlapped(completions, log_extra, **kwargs):
        # Real seconds that no two runs have in common.
        await asyncio.sleep(int.from_bytes(os.urandom(1)) / 2000)
        return reward(completions, log_extra)

    return overlapped if scenario == "overlap" else reward


SETTINGS = {
    # A generation batch is trained on for 4 optimizer steps, in 2 micro steps each; two epochs have 8 steps.
    "within_generations": {
        "duration_weighting": "inverse_inclusion",
        "steps_per_generation": 4,
        "num_iterations": 2,
        "gradient_accumulation_steps": 2,
        "use_adaptive_entropy": True,
        "entropy_target": 5.0,
        "entropy_coef_delta": 0.01,
        "logging_steps": 3,
    },
    "overlap": {
        "overlap_execution": True,
        "overlap_order": "launched",
        "overlap_batches": 2,
        "max_staleness": 8,
        "steps_per_generation": 2,
        "gradient_accumulation_steps": 1,
    },
}


def main(out: Path, scenario: str, place: str = "", number: str = "0", rank: str = "0") -> None:
    state = PartialState(cpu=True)
    death = Death(place if state.process_index == int(rank) else "", int(number))
    sys.addaudithook(death.audit)
    rows = 4 * state.num_processes + 2
    args = tiny_args(
        out / "run",
        per_device_train_batch_size=4,
        max_steps=STEPS,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=2,
        resume_from_checkpoint="auto",
        **SETTINGS[scenario],
    )
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward_of(scenario, death),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": f"task {row}: "} for row in range(rows)]),
        processing_class=tiny_tokenizer(),
        callbacks=[RunRecorder(out / "run", {}), Dying(death)],
    )
    trainer.train(resume_from_checkpoint=resume_from(args))
    torch.save(trainer.accelerator.unwrap_model(trainer.model).state_dict(), out / f"final_{state.process_index}.pt")
    if state.num_processes > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
