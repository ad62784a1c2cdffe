"""Checks of settings, model and machine before hours are spent."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trl_mle.errors import ConfigError, missing_extra
from trl_mle.types import LONGEST_S, TaskSpec

DEMO = "`trl-mle sft --config quickstart/sft` (or `trl-mle quickstart`)"
"""Command that trains the demo policy."""
MODEL_FILES = ("config.json", "adapter_config.json")
"""Files of which the folder of a policy has one: a whole model, or an adapter."""


def check_model_path(path: str | None, output_dir: str | None = None, key: str = "model_name_or_path") -> None:
    """Raise `ConfigError` if `path`, the value of `key`, is a local path without a model, or in a folder that is moved aside."""
    if not path or not (path.startswith((".", "/", "~", "runs/")) or Path(path).exists()):
        return
    if path.startswith("~"):
        raise ConfigError(f"`{key}` is {path!r}: `~` is not expanded in settings. Write the whole path.")
    if Path(path).is_file():
        raise ConfigError(f"`{key}` is {path!r}, which is a file. Give the folder of a model, or a hub id.")
    if not any(Path(path, name).exists() for name in MODEL_FILES):
        raise ConfigError(
            f"`{key}` is {path!r}, but there is no model. Give a hub id or the path of a model, or train the "
            f"demo policy first: {DEMO}."
        )
    if output_dir is not None and Path(output_dir).resolve() in (Path(path).resolve(), *Path(path).resolve().parents):
        raise ConfigError(
            f"`{key}` {path!r} lies in `output_dir` {output_dir!r}, which a new run moves aside. Choose another "
            "`output_dir`, or continue with `--resume_from_checkpoint true`."
        )


def check_output_dir(path: str, moved: bool = False) -> None:
    """Raise `ConfigError` if nothing can be written into `output_dir`, or if it cannot be `moved` aside by a later run."""
    is_name = path.strip() and "\0" not in path
    if not is_name or (moved and Path(os.path.realpath(path)) in (Path.cwd(), *Path.cwd().parents)):
        raise ConfigError(f"`output_dir` is {path!r}. Choose a folder for this run alone, such as `runs/first`.")
    folder = Path(path)
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise ConfigError(f"`output_dir` is {path!r}, but {str(existing)!r} is a file. Choose another folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(
            f"`output_dir` is {path!r}, but {str(existing)!r} cannot be written to. Choose another folder."
        )


def check_kind_of_policy(output_dir: str, use_peft: bool, checkpoint: str | None = None) -> None:
    """Raise `ConfigError` if a policy of the other kind (a whole model, an adapter) is in `output_dir`, where it would stay, or in
    the `checkpoint` to resume from, whose weights would be passed over."""
    for name, what, is_adapter in zip(MODEL_FILES, ("a whole model", "an adapter"), (False, True), strict=True):
        if is_adapter == use_peft:
            continue
        problem = f"holds {what}, and `use_peft` is {str(use_peft).lower()}"
        if checkpoint is not None and Path(checkpoint, name).exists():
            raise ConfigError(
                f"The checkpoint {checkpoint!r} {problem}. Set `use_peft: {str(is_adapter).lower()}` to resume from it, or leave "
                "`resume_from_checkpoint` out and choose another `output_dir`."
            )
        if Path(output_dir, name).exists():
            raise ConfigError(
                f"`output_dir` {output_dir!r} {problem}. Of a folder with both, the model is loaded with the adapter on it. "
                "Choose another `output_dir`, or remove that policy."
            )


def check_time_limit(seconds: float | None) -> None:
    """Raise `ConfigError` if `program_time_limit_s` is not a positive number."""
    if seconds is not None and not 0 < seconds <= LONGEST_S:
        raise ConfigError(
            f"`program_time_limit_s` is {seconds}; it must be a positive number of seconds, at most a year."
        )


def check_vllm(training_args: Any) -> None:
    """Raise `UserError` if `use_vllm` is set and vLLM is not installed."""
    if training_args.use_vllm and importlib.util.find_spec("vllm") is None:
        raise missing_extra("vllm", "vllm")


def check_async(
    use_peft: bool, reward_aggregation: str | None = None, self_improvement: bool = False, agent_turns: int = 0
) -> None:
    """Raise `UserError` if TRL's `AsyncGRPOTrainer` cannot work: it needs a CUDA device, and vLLM to send all weights. It adds up
    rewards before they are normalised, and its rollouts run in a process that chooses no prompts."""
    import torch

    if reward_aggregation not in (None, "sum"):
        raise ConfigError(
            f"`reward_aggregation` is {reward_aggregation!r}; `trl-mle async-grpo` knows 'sum' alone. Use `trl-mle grpo`, with "
            "`overlap_execution: true` if programs are slow."
        )
    if self_improvement:
        raise ConfigError(
            "`improve_fraction`, `debug_fraction` or `retrieved_examples` is set; `trl-mle async-grpo` asks for solutions from "
            "scratch only. Use "
            "`trl-mle grpo`, with `overlap_execution: true` if programs are slow."
        )
    if agent_turns:
        raise ConfigError(
            f"`agent_turns` is {agent_turns}; `trl-mle async-grpo` trains on programs of one answer only. Use `trl-mle grpo`, "
            "with `tool_rollouts: independent` if programs are slow."
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            "AsyncGRPOTrainer of TRL needs a CUDA device, and there is none. On other hardware use `trl-mle grpo` with "
            "`overlap_execution: true`."
        )
    if not use_peft and importlib.util.find_spec("vllm") is None:
        raise missing_extra("vllm", "vllm")


def check_task_ids(tasks: Mapping[str, TaskSpec]) -> None:
    """Raise `ConfigError` if two tasks have the same id: rollouts name their task by id."""
    ids = [task.id for task in tasks.values()]
    if len(set(ids)) < len(ids):
        raise ConfigError(f"`tasks` {list(tasks)} have the ids {ids}, which must differ: change `id` in a task.yaml.")


def check_chat_template(tokenizer: Any, name: str) -> None:
    """Raise `ConfigError` if the tokenizer of model `name` has no chat template."""
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"The tokenizer of {name!r} has no chat template, and prompts are chat messages. Use an instruction-tuned model, or "
            "fine-tune this one with `trl-mle sft`."
        )


def accelerators() -> str:
    """Number and name of the accelerators that training uses on this machine, as text."""
    import torch

    if not torch.cuda.is_available():
        return "none: training runs on the CPU"
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"


def check_best_metric(training_args: Any, tasks: Mapping[str, TaskSpec]) -> None:
    """Raise `ConfigError` if `metric_for_best_model` is a raw score whose direction is not `greater_is_better`."""
    metric = str(training_args.metric_for_best_model or "").removeprefix("eval_")
    if metric != "programs/public_score":
        return
    advice = "`programs/score_or_worst` is higher for better programs of every task, and counts failures."
    directions = {task.direction for task in tasks.values()}
    if len(directions) > 1 or len(tasks) > 1:
        raise ConfigError(f"`metric_for_best_model` is {metric!r}, which is not comparable across tasks. {advice}")
    if training_args.greater_is_better != (directions == {"maximize"}):
        raise ConfigError(
            f"`metric_for_best_model` is {metric!r} and `greater_is_better` is {training_args.greater_is_better}, but the "
            f"task's metric is one to {next(iter(directions))}. {advice}"
        )
