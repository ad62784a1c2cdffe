"""Warm start of a policy on demonstrations, and training of the demo policy from nothing: `trl-mle sft`.

`recipes/sft_mle.py` is the same script for `accelerate launch`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.scripts.console import AfterTraining, hide_bars, let_threads_wait, prepare_console
from trl_mle.scripts.demonstrations import DemonstrationArguments, has_turns, load_demonstrations, texts_of
from trl_mle.scripts.user_errors import user_errors

if TYPE_CHECKING:
    from datasets import Dataset

MARKER = "sft.json"
"""File that is written last into `output_dir`: what the policy there was trained with."""
PER_PROCESS = ("local_rank", "force", "disable_tqdm", "log_level", "log_level_replica")
"""Settings that do not change what is trained."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with settings from `arguments`, by default those of this process; returns the exit code."""
    prepare_console()
    let_threads_wait()
    with user_errors():
        demo_args, training_args, model_args = parse(arguments)
        hide_bars()
        # The main process fills the caches of tasks and data sets before the others read them.
        with training_args.main_process_first(local=False, desc="preparing the demonstrations"):
            dataset = load_demonstrations(demo_args, Path(training_args.output_dir))
        fingerprint = fingerprint_of(dataset, demo_args, training_args, model_args)
        marker = Path(training_args.output_dir, MARKER)
        trained = not demo_args.force and is_trained(marker, fingerprint)
        wait_for_everyone()  # before the main process touches the marker
        if trained:
            if training_args.process_index == 0:
                print(f"{marker.parent} holds the policy of these settings already; `--force` trains it again.")
            return 0
        return train(dataset, demo_args, training_args, model_args, marker, fingerprint)


def parse(arguments: Sequence[str] | None) -> tuple[DemonstrationArguments, Any, Any]:
    """Settings from YAML and flags."""
    from trl import ModelConfig, SFTConfig

    from trl_mle.scripts.checkpoints import resume_from
    from trl_mle.scripts.checks import check_kind_of_policy, check_model_path, check_output_dir
    from trl_mle.scripts.run_dir import check_no_run
    from trl_mle.scripts.settings import parse_arguments

    with user_errors(parsing=True):
        demo_args, training_args, model_args = parse_arguments(
            "sft", (DemonstrationArguments, SFTConfig, ModelConfig), arguments
        )
        check_output_dir(training_args.output_dir)
        check_no_run(Path(training_args.output_dir))
        if model_args.model_name_or_path != "tiny":
            check_model_path(model_args.model_name_or_path)
        checkpoint = resume_from(training_args, warn=True)
        check_kind_of_policy(training_args.output_dir, model_args.use_peft, checkpoint)
    return demo_args, training_args, model_args


def fingerprint_of(dataset: Dataset, demo_args: DemonstrationArguments, training_args: Any, model_args: Any) -> str:
    """A hash of everything that decides what is trained: settings, demonstrations, versions, and the weights of a model on this
    machine by size and time of the last change."""
    from importlib.metadata import version

    from trl_mle.scripts.checkpoints import WEIGHTS

    settings = {**asdict(demo_args), **training_args.to_dict(), **asdict(model_args)}
    inputs = {
        "settings": {name: value for name, value in settings.items() if name not in PER_PROCESS},
        "versions": {name: version(name) for name in ("trl_mle", "trl", "transformers", "tokenizers", "torch")},
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode())
    for row in dataset:
        digest.update(json.dumps(row, sort_keys=True).encode())
    model, output_dir = Path(model_args.model_name_or_path or ""), Path(training_args.output_dir)
    # The training itself changes a model that lies in `output_dir`.
    if model_args.model_name_or_path and model.is_dir() and model.resolve() != output_dir.resolve():
        for path in sorted(path for pattern in WEIGHTS for path in model.glob(pattern)):
            digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def is_trained(marker: Path, fingerprint: str) -> bool:
    """Whether `marker` says that the policy beside it has this fingerprint."""
    from trl_mle.scripts.checks import MODEL_FILES

    if not marker.exists() or not any((marker.parent / name).exists() for name in MODEL_FILES):
        return False
    try:
        return json.loads(marker.read_text(encoding="utf-8"))["fingerprint"] == fingerprint
    except (ValueError, KeyError, TypeError):  # written by something else, or cut off: train
        return False


def wait_for_everyone() -> None:
    """Wait until all processes are here."""
    from accelerate import PartialState

    PartialState().wait_for_everyone()


def make_policy(
    dataset: Dataset, demo_args: DemonstrationArguments, training_args: Any, model_args: Any
) -> dict[str, Any]:
    """The trainer's arguments about model and tokenizer. Without a name, a small model starts from nothing."""
    if model_args.model_name_or_path in (None, "tiny"):
        from trl import get_peft_config

        from trl_mle.demo.tiny_policy import build_tiny_policy, build_tokenizer

        tokenizer = build_tokenizer(texts_of(dataset), demo_args.vocab_size, tool_calls=has_turns(dataset))
        model = build_tiny_policy(tokenizer, demo_args.hidden_size, demo_args.num_layers, seed=training_args.seed)
        return {"model": model, "processing_class": tokenizer, "peft_config": get_peft_config(model_args)}

    from trl_mle.scripts.build import load_tokenizer, model_init_kwargs
    from trl_mle.scripts.policy import trainer_arguments

    tokenizer = load_tokenizer(model_args, training_args)
    training_args.model_init_kwargs = model_init_kwargs(model_args, training_args)
    return {**trainer_arguments(model_args, training_args), "processing_class": tokenizer}


def train(
    dataset: Dataset,
    demo_args: DemonstrationArguments,
    training_args: Any,
    model_args: Any,
    marker: Path,
    fingerprint: str,
) -> int:
    """Train, save the policy, then write its marker. Returns 0, or 1 if the push failed."""
    from transformers import ProgressCallback
    from trl import SFTTrainer

    from trl_mle.scripts.checkpoints import resume_from
    from trl_mle.scripts.hub_push import push_policy, repository_errors, save_policy
    from trl_mle.training.callbacks import SFT_METRICS, MLEProgress
    from trl_mle.training.resume.last_step import EndsAtLastStep

    class Trainer(EndsAtLastStep, SFTTrainer):
        """`trl.SFTTrainer`, except that it makes no step beyond `max_steps` after a resume."""

    training_args.completion_only_loss = True
    # Observations are no part of what the policy learns to write.
    training_args.assistant_only_loss |= has_turns(dataset)
    policy = make_policy(dataset, demo_args, training_args, model_args)
    with repository_errors(training_args):
        trainer: Any = Trainer(**policy, args=training_args, train_dataset=dataset)
    if not training_args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(MLEProgress(SFT_METRICS))
    if training_args.process_index == 0:  # a run that is cut off must not look like a finished one
        marker.unlink(missing_ok=True)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=resume_from(training_args))
    seconds = time.perf_counter() - started
    save_policy(trainer)
    if training_args.process_index == 0:
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        summary: dict[str, Any] = {
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
    after = AfterTraining()
    push_policy(trainer, after)
    return after.exit_code


if __name__ == "__main__":
    sys.exit(main())
