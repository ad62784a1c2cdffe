"""Warm-start a policy on demonstrations: a plan and a program for each prompt.

The demo policy, a few million parameters trained from nothing on a CPU (about a minute; unchanged settings are not
trained again):

    accelerate launch recipes/sft_mle.py --config recipes/quickstart/sft.yaml

A real model, on your own demonstrations or on generated ones:

    accelerate launch --config_file accelerate_configs/zero3.yaml recipes/sft_mle.py \
        --model_name_or_path Qwen/Qwen2.5-3B-Instruct --demonstrations demonstrations.jsonl \
        --output_dir runs/warm-start --bf16 true

A row of demonstrations has `messages` (the last one is the assistant's), or `prompt` and `completion`. The loss is on the
completion only. Every key of the YAML file is also a flag; flags win. `--help` lists them all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.cli.errors import user_errors
from trl_mle.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

    from trl_mle.types import TaskSpec

USAGE = "sft_mle.py --config FILE.yaml [--key value ...]    (--help lists every key)"
MARKER = "sft.json"
"""Written last into `output_dir`: what the policy there was trained with."""
PER_PROCESS = ("local_rank", "force", "disable_tqdm", "log_level", "log_level_replica")
"""Settings that do not change what is trained."""


@dataclass
class DemonstrationArguments:
    """Parameters that control what is learned from, and the size of a policy that starts from nothing."""

    demonstrations: str = field(
        default="generated",
        metadata={"help": "'generated', a .jsonl, .json or .parquet file, or the id of a data set on the hub."},
    )
    demonstrations_split: str = field(default="train", metadata={"help": "Split of a data set on the hub."})
    tasks: list[str] = field(
        default_factory=list, metadata={"help": "Tasks that generated demonstrations are for, in equal shares."}
    )
    num_demonstrations: int = field(default=2000, metadata={"help": "How many demonstrations to generate."})
    bug_share: float = field(
        default=0.6, metadata={"help": "Share of generated programs with at least one mistake, from 0 to less than 1."}
    )
    program_time_limit_s: float | None = field(
        default=None,
        metadata={"help": "Limit of a program that the prompts state, in seconds. Default: the task's own."},
    )
    vocab_size: int = field(default=3072, metadata={"help": "Tokens of a policy that starts from nothing, at most."})
    hidden_size: int = field(default=192, metadata={"help": "Width of a policy that starts from nothing."})
    num_layers: int = field(default=4, metadata={"help": "Layers of a policy that starts from nothing."})
    force: bool = field(default=False, metadata={"help": "Train even if `output_dir` holds the result already."})

    def __post_init__(self):
        if self.demonstrations == "generated" and not self.tasks:
            raise ConfigError(
                "`tasks` is empty. Name at least one for generated demonstrations: `--tasks builtin:digits`."
            )
        if self.num_demonstrations < 1:
            raise ConfigError(f"`num_demonstrations` is {self.num_demonstrations}; it must be at least 1.")
        if not 0 <= self.bug_share < 1:
            raise ConfigError(f"`bug_share` is {self.bug_share}; it must be at least 0 and less than 1.")


def main(arguments: list[str] | None = None) -> int:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait by spinning make a step ten times slower on a machine that does something else as well. Read when
    # torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with user_errors():
        demo_args, training_args, model_args = parse(arguments)
        with training_args.main_process_first(local=False, desc="preparing the demonstrations"):
            dataset = demonstrations(demo_args)
        fingerprint = fingerprint_of(dataset, demo_args, training_args, model_args)
        marker = Path(training_args.output_dir, MARKER)
        trained = not demo_args.force and is_trained(marker, fingerprint)
        wait_for_everyone()  # before the main process touches the marker
        if trained:
            if training_args.process_index == 0:
                print(f"{marker.parent} holds the policy of these settings already; `--force` trains it again.")
            return 0
        return train(dataset, demo_args, training_args, model_args, marker, fingerprint)


def parse(arguments: list[str] | None):
    """Settings from YAML and flags."""
    from trl import ModelConfig, SFTConfig, TrlParser

    from trl_mle.scripts.checks import check_model_path, resume_from

    with user_errors(parsing=True):
        parser = TrlParser((DemonstrationArguments, SFTConfig, ModelConfig), usage=USAGE)
        demo_args, training_args, model_args = parser.parse_args_and_config(arguments)
        check_model_path(model_args.model_name_or_path)
        resume_from(training_args)
    return demo_args, training_args, model_args


def demonstrations(args: DemonstrationArguments) -> Dataset:
    """Rows with `prompt` and `completion`."""
    from datasets import Dataset

    if args.demonstrations != "generated":
        return as_prompt_completion(load_rows(args.demonstrations, args.demonstrations_split))

    from trl_mle import build_prompt, load_task
    from trl_mle.demo import generate_demonstrations

    tasks: list[TaskSpec] = [load_task(name) for name in args.tasks]
    if args.program_time_limit_s is not None:
        tasks = [replace(task, time_limit_s=args.program_time_limit_s) for task in tasks]
    prompts = {task.id: build_prompt(task) for task in tasks}
    rows = generate_demonstrations(tasks, args.num_demonstrations, seed=0, bug_share=args.bug_share)
    return Dataset.from_list(
        [
            {
                "prompt": prompts[str(row["task"])],
                "completion": [{"role": "assistant", "content": row["completion"]}],
            }
            for row in rows
        ]
    )


def load_rows(source: str, split: str) -> Dataset:
    """A file or a data set of the hub."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError

    kinds = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
    kind = kinds.get(Path(source).suffix)
    if kind and not Path(source).is_file():
        raise ConfigError(f"`demonstrations` is {source!r}, but there is no such file.")
    try:
        return load_dataset(kind, data_files=source, split="train") if kind else load_dataset(source, split=split)
    except (DatasetGenerationError, DatasetNotFoundError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        raise ConfigError(
            f"`demonstrations` is {source!r}, which cannot be loaded: {cause} Give 'generated', a .jsonl, .json or "
            ".parquet file, or the id of a data set on the hub."
        ) from error


def as_prompt_completion(dataset: Dataset) -> Dataset:
    """`dataset` with `prompt` and `completion` only; of `messages`, the last one is the completion."""
    if {"prompt", "completion"} <= set(dataset.column_names):
        return dataset.select_columns(["prompt", "completion"])
    if "messages" not in dataset.column_names:
        raise ConfigError(
            f"The demonstrations have the columns {dataset.column_names}; they need `messages`, or `prompt` and "
            "`completion`."
        )

    def split(row):
        messages = row["messages"]
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise ConfigError("Each `messages` needs a prompt and, as its last message, the assistant's answer.")
        return {"prompt": messages[:-1], "completion": messages[-1:]}

    return dataset.map(split, remove_columns=dataset.column_names, desc="Splitting messages")


def fingerprint_of(dataset: Dataset, demo_args, training_args, model_args) -> str:
    """A hash of all that decides what is trained: settings, demonstrations and versions."""
    from importlib.metadata import version

    settings = {**asdict(demo_args), **training_args.to_dict(), **asdict(model_args)}
    facts = {
        "settings": {name: value for name, value in settings.items() if name not in PER_PROCESS},
        "versions": {name: version(name) for name in ("trl_mle", "trl", "transformers", "tokenizers", "torch")},
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for row in dataset:
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()


def is_trained(marker: Path, fingerprint: str) -> bool:
    """Whether `marker` says that the policy beside it has this fingerprint."""
    if not marker.exists() or not (marker.parent / "config.json").exists():
        return False
    try:
        return json.loads(marker.read_text(encoding="utf-8"))["fingerprint"] == fingerprint
    except (ValueError, KeyError, TypeError):  # not ours, or cut off: train
        return False


def wait_for_everyone() -> None:
    from accelerate import PartialState

    PartialState().wait_for_everyone()


def policy(dataset: Dataset, demo_args, training_args, model_args):
    """Model (or its name) and tokenizer to start from."""
    if model_args.model_name_or_path in (None, "tiny"):
        from trl_mle.demo.tiny_policy import build_tiny_policy, build_tokenizer

        tokenizer = build_tokenizer(texts_of(dataset), demo_args.vocab_size)
        return build_tiny_policy(
            tokenizer, demo_args.hidden_size, demo_args.num_layers, seed=training_args.seed
        ), tokenizer

    from trl_mle.scripts.checks import load_tokenizer, model_init_kwargs

    tokenizer = load_tokenizer(model_args, training_args)
    training_args.model_init_kwargs = model_init_kwargs(model_args, training_args)
    return model_args.model_name_or_path, tokenizer


def texts_of(dataset: Dataset):
    """Every text of the demonstrations."""
    for row in dataset:
        for part in (row["prompt"], row["completion"]):
            yield from [part] if isinstance(part, str) else (message["content"] for message in part)


def train(dataset: Dataset, demo_args, training_args, model_args, marker: Path, fingerprint: str) -> int:
    from transformers import ProgressCallback
    from trl import SFTTrainer, get_peft_config, get_quantization_config

    from trl_mle.scripts.checks import resume_from
    from trl_mle.training.callbacks import SFT_METRICS, MLEProgress

    training_args.completion_only_loss = True
    model, tokenizer = policy(dataset, demo_args, training_args, model_args)
    trainer = SFTTrainer(
        model=model,
        args=training_args,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
        quantization_config=get_quantization_config(model_args),
    )
    if not training_args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(MLEProgress(SFT_METRICS))
    if training_args.process_index == 0:
        marker.unlink(missing_ok=True)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=resume_from(training_args))
    seconds = time.perf_counter() - started
    trainer.save_model(training_args.output_dir)
    if training_args.process_index == 0:
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        summary = {
            "fingerprint": fingerprint,
            "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
            "demonstrations": len(dataset),
            "steps": trainer.state.global_step,
            "train_seconds": round(seconds, 1),
            "loss": [losses[0], losses[-1]] if losses else None,
        }
        marker.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        change = f"; loss per completion token {losses[0]:.2f} -> {losses[-1]:.2f}" if losses else ""
        print(
            f"Trained {summary['parameters'] / 1e6:.1f} M parameters on {len(dataset)} demonstrations in "
            f"{summary['steps']} steps and {seconds:.0f} s{change}. Saved to {training_args.output_dir}."
        )
    if training_args.push_to_hub:
        trainer.push_to_hub()
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(main())
