"""Runs in which some groups have equal rewards, recorded for the tests of `replace_flat_groups`.

python -m tests.support.flat_groups OUT SETTINGS     # one process of several; SETTINGS is JSON
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import torch

from tests.support.loss_cases import LEARNING_RATE, Snapshots, seconds
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer


def is_flat(prompt: str, step: int) -> bool:
    """Whether all completions of `prompt` have the same reward at `step`. All differ at step 0."""
    return step > 0 and zlib.crc32(f"{prompt}{step}".encode()) % 2 == 0


def reward(prompts, completions, trainer_state, log_extra, **kwargs):
    log_extra("action_duration", [seconds(text) for text in completions])
    flat = [is_flat(prompt, trainer_state.global_step) for prompt in prompts]
    return [0.7 if same else float(sum(map(ord, text)) % 17) for same, text in zip(flat, completions, strict=True)]


class Recording(DurationAwareTrainer):
    """Keeps each generation batch before and after groups were replaced, and what each loss was computed on."""

    def __init__(self, *args, **kwargs):
        self.fresh, self.final, self.batches = [], [], []
        super().__init__(*args, **kwargs)

    def _weigh(self, output, *args):
        weights = super()._weigh(output, *args)
        self.fresh.append(_copy(output))
        return weights

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        self.final.append(
            {**_copy(output), "prompts": [row["prompt"] for row in inputs], "step": self.state.global_step}
        )
        return output

    def _compute_loss(self, model, inputs):
        self.batches.append({**_copy(inputs), "step": self.state.global_step})
        return super()._compute_loss(model, inputs)


def _copy(tensors: dict) -> dict:
    return {name: value.detach().clone() for name, value in tensors.items() if isinstance(value, torch.Tensor)}


def make(folder: Path, steps: int = 4, **changes) -> Recording:
    model = tiny_model()
    model.generation_config.eos_token_id = [1, *range(3, 30)]  # completions of unequal lengths
    if "beta" in changes:
        model.config._name_or_path = str(folder / f"policy_{os.environ.get('RANK', 0)}")
        model.save_pretrained(model.config._name_or_path)
    settings = {
        "num_generations": 4,
        "max_steps": steps,
        "optim": "sgd",
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "save_rollouts": False,
        "replace_flat_groups": True,
        **changes,
    }
    snapshots = Snapshots()
    trainer = Recording(
        model=model,
        reward_funcs=reward,
        args=tiny_args(folder, **settings),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        callbacks=[snapshots],
    )
    snapshots.trainer, trainer.snapshots = trainer, snapshots
    return trainer


def run(folder: Path, steps: int = 4, resume: str | None = None, **changes) -> dict:
    """Train, and return the record of this process."""
    trainer = make(folder, steps, **changes)
    trainer.train(resume_from_checkpoint=resume)
    return {
        "fresh": trainer.fresh,
        "final": trainer.final,
        "batches": trainer.batches,
        "states": trainer.snapshots.states,
        "log": trainer.state.log_history,
    }


def main(out: Path, settings: str) -> None:
    from accelerate import PartialState

    rank = PartialState(cpu=True).process_index
    torch.save(run(out / "run", **json.loads(settings)), out / f"{rank}.pt")
    # Everything is written. Threads of gloo may abort a process whose peer has gone before it.
    with suppress(RuntimeError):
        torch.distributed.barrier()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
