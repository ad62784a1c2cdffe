"""Runs for `test_loss_*.py`: small trainings that record what they trained on, for any launcher.

    python -m tests.support.loss_cases OUT STRATEGY CASE [CASE ...]     # one process of several, under torchrun's variables

Each process writes `OUT/<case>_<rank>.pt`: the parameters before and after every optimizer step, every batch that a loss
was computed on, and the rewards and durations of the global batch.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainerCallback

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer

LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
LEARNING_RATE = 1.0


@dataclass(frozen=True)
class Case:
    """Settings of one run, and how to write them as a word for a command line."""

    loss_type: str = "grpo"
    lora: bool = False
    iterations: int = 1
    changes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        changes = "".join(f",{name}={value}" for name, value in self.changes)
        return f"{self.loss_type},{'lora' if self.lora else 'full'},{self.iterations}{changes}"

    @classmethod
    def parse(cls, word: str) -> Case:
        loss_type, kind, iterations, *changes = word.split(",")
        return cls(loss_type, kind == "lora", int(iterations), tuple(tuple(item.split("=")) for item in changes))

    def settings(self) -> dict:
        return {name: _value(value) for name, value in self.changes}


def _value(text: str):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"True": True, "False": False}.get(text, text)


def seconds(text: str) -> float | None:
    """Unequal durations; one completion in seven never ran."""
    code = sum(map(ord, text))
    return None if code % 7 == 0 else 0.5 + code % 5 * 2.0


def score(text: str) -> float | None:
    """A reward that depends on the text alone; one completion in eleven cannot be scored."""
    code = sum(map(ord, text))
    return None if code % 11 == 0 else float(code % 17) / 4


def reward(completions, log_extra, **kwargs):
    log_extra("action_duration", [seconds(text) for text in completions])
    return [score(text) for text in completions]


class Recording(DurationAwareTrainer):
    """Keeps the batches that losses are computed on, with the row of the global batch that each of their rows was."""

    def __init__(self, *args, **kwargs):
        self.batches, self.texts = [], []
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        rows = len(output["advantages"])
        self.texts.append(list(self._logs["completion"])[-rows * self.accelerator.num_processes :])
        device = output["advantages"].device
        output["row"] = torch.arange(rows, device=device) + rows * self.accelerator.process_index
        output["generation"] = torch.full((rows,), len(self.texts) - 1, device=device)
        return output

    def _compute_loss(self, model, inputs):
        tensors = {
            name: value.detach().cpu().clone() for name, value in inputs.items() if isinstance(value, torch.Tensor)
        }
        self.batches.append({**tensors, "step": self.state.global_step})
        return super()._compute_loss(model, inputs)


def full_state(trainer) -> dict[str, torch.Tensor]:
    """Trainable and frozen parameters, whole, whatever the sharding; collective."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    parameters = dict(model.named_parameters())
    gathered = nullcontext()
    if any(hasattr(parameter, "ds_id") for parameter in parameters.values()):
        import deepspeed

        gathered = deepspeed.zero.GatheredParameters(list(parameters.values()))
    with gathered:
        return {
            name.removeprefix("module."): (p.full_tensor() if hasattr(p, "full_tensor") else p).detach().cpu().clone()
            for name, p in parameters.items()
        }


class Snapshots(TrainerCallback):
    def __init__(self):
        self.trainer, self.states = None, []

    def on_step_begin(self, *args, **kwargs):
        self.states.append(full_state(self.trainer))

    def on_train_end(self, *args, **kwargs):
        self.states.append(full_state(self.trainer))


def lora_config():
    from peft import LoraConfig

    return LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")


def run(case: Case, folder: Path, **changes) -> dict:
    """Train, and return the record of this process."""
    snapshots = Snapshots()
    args = tiny_args(
        folder / str(case).replace(",", "_").replace("=", "-"),
        **{
            "loss_type": case.loss_type,
            "num_iterations": case.iterations,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "gradient_accumulation_steps": 2,
            "max_steps": 2 * case.iterations,
            "optim": "sgd",
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "weight_decay": 0.0,
            "max_grad_norm": 0.0,
            "logging_steps": 100,
            "save_rollouts": False,
            **changes,
            **case.settings(),
        },
    )
    model = tiny_model()
    model.generation_config.eos_token_id = [1, *range(3, 30)]  # completions of unequal lengths, some of them truncated
    if "beta" in case.settings():  # the reference model is loaded from where the policy came from
        model.config._name_or_path = str(folder / f"policy_{os.environ.get('RANK', 0)}")
        model.save_pretrained(model.config._name_or_path)
    trainer = Recording(
        model=model,
        reward_funcs=reward,
        args=args,
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        peft_config=lora_config() if case.lora else None,
        callbacks=[snapshots],
    )
    snapshots.trainer = trainer
    trainer.train()
    parameters = dict(trainer.accelerator.unwrap_model(trainer.model).named_parameters())
    return {
        "states": snapshots.states,
        "batches": trainer.batches,
        "texts": trainer.texts,
        "trainable": [name for name, parameter in parameters.items() if parameter.requires_grad],
        "sharded": all(hasattr(p, "full_tensor") or p.numel() == 0 for p in parameters.values()),
    }


def changes_of(strategy: str) -> dict:
    """What `TrainingArguments` need to shard on a CPU; the rest is in the environment, as `accelerate launch` sets it."""
    if strategy.startswith("zero"):
        return {
            "use_cpu": False,
            "ddp_backend": "gloo",
            "max_grad_norm": 1e6,
        }  # 0 would be the launcher's default of 1
    return {"accelerator_config": {"use_configured_state": True}} if strategy == "fsdp2" else {}


def main(out: Path, strategy: str, arguments: list[str]) -> None:
    from accelerate import PartialState

    if strategy == "fsdp2":
        from accelerate.utils import DistributedType

        PartialState(cpu=True, backend="gloo")
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    elif strategy == "ddp":
        PartialState(cpu=True)
    rank = int(os.environ["RANK"])
    for argument in arguments:
        record = run(Case.parse(argument), out, **changes_of(strategy))
        torch.save(record, out / f"{argument}_{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
