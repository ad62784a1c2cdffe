"""What each of two processes runs in `tests/training/collapse/test_two_processes.py`; the first argument is the output folder."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import torch
from accelerate import PartialState

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer

BREAKS_AT = 6


def main() -> None:
    out, rank = Path(sys.argv[1]), PartialState(cpu=True).process_index

    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0] * len(completions))
        step = trainer.state.global_step
        # Only the second process's programs break: the decision must be that of the whole batch, and of both.
        broken = rank == 1 and step >= BREAKS_AT and trainer._collapse.rollbacks == 0
        return [(-100.0 if broken else float(step)) + 0.01 * (sum(map(ord, text)) % 17) for text in completions]

    args = arguments(out, max_steps=10)
    trainer = make_trainer(args, reward)
    trainer.train()
    result = {
        "step": trainer.state.global_step,
        "rollbacks": trainer._collapse.rollbacks,
        "rate": trainer.optimizer.param_groups[0]["lr"],
        "model": {name: value.clone() for name, value in trainer.model.state_dict().items()},
        "logged": [entry for entry in trainer.state.log_history if "loss" in entry],
    }
    # As after a kill before the first checkpoint that knows of the rollback: checkpoint-4 was written before it.
    trainer = make_trainer(arguments(out, max_steps=5), reward)
    trainer.train(resume_from_checkpoint=str(out / "run/checkpoint-4"))
    result["resumed"] = (trainer._collapse.rollbacks, trainer.optimizer.param_groups[0]["lr"])
    torch.save(result, out / f"{rank}.pt")
    # Everything is written. Threads of gloo may abort a process whose peer has gone before it.
    with suppress(RuntimeError):
        torch.distributed.barrier()
    os._exit(0)


def arguments(out, **changes):
    return tiny_args(
        out / "run",
        per_device_train_batch_size=4,
        **changes,
        save_strategy="steps",
        save_steps=2,
        lr_scheduler_type="constant",
        collapse_action="rollback",
        collapse_entropy=None,
        collapse_distinct=None,
        collapse_update_kl=50.0,
    )


def make_trainer(args, reward):
    return DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=args,
        train_dataset=tiny_dataset(40),
        processing_class=tiny_tokenizer(),
    )


if __name__ == "__main__":
    main()
