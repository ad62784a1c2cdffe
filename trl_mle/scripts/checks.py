"""What the recipes share: checks of model and checkpoint before hours are spent, and how a model is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trl_mle.config import InstrumentationConfig
from trl_mle.errors import ConfigError, missing_extra
from trl_mle.instrumentation import ASTInstrumenter, LLMInstrumenter
from trl_mle.instrumentation.llm.prompt import DEFAULT_MAX_TOKENS
from trl_mle.types import TaskSpec

DEMO = "`accelerate launch recipes/sft_mle.py --config recipes/quickstart/sft.yaml` (or `make quickstart`)"


def check_model_path(path: str | None, output_dir: str | None = None) -> None:
    """Raise `ConfigError` where `path` is a local path without a model, or lies in the folder that a run will replace."""
    if not path or not path.startswith((".", "/", "runs/")):
        return
    if not Path(path, "config.json").exists():
        raise ConfigError(
            f"`model_name_or_path` is {path!r}, but there is no model. Give a hub id or the path of a model, or train the "
            f"demo policy first: {DEMO}."
        )
    if output_dir is not None and Path(output_dir).resolve() in (Path(path).resolve(), *Path(path).resolve().parents):
        raise ConfigError(
            f"`model_name_or_path` {path!r} lies in `output_dir` {output_dir!r}, which a new run moves aside. Choose another "
            "`output_dir`, or continue with `--resume_from_checkpoint true`."
        )


def resume_from(training_args: Any) -> str | None:
    """The checkpoint to resume from: `true` means the newest one of `output_dir`, a path means that one.

    Raises:
        ConfigError: there is no such checkpoint.
    """
    from transformers.trainer_utils import get_last_checkpoint

    value = training_args.resume_from_checkpoint
    if value is None or str(value).lower() == "false":
        return None
    if str(value).lower() != "true":
        if not Path(value).is_dir():
            raise ConfigError(f"`resume_from_checkpoint` is {value!r}, but there is no such folder.")
        return str(value)
    folder = training_args.output_dir
    newest = get_last_checkpoint(folder) if Path(folder).is_dir() else None
    if newest is None:
        raise ConfigError(
            f"`resume_from_checkpoint` is true, but {folder!r} has no checkpoint. Leave it out to start afresh."
        )
    return newest


def check_vllm(training_args: Any) -> None:
    """Raise `UserError` where vLLM is asked for and not installed."""
    if training_args.use_vllm and importlib.util.find_spec("vllm") is None:
        raise missing_extra("vllm", "vllm")


def check_async(use_peft: bool) -> None:
    """Raise `UserError` where TRL's `AsyncGRPOTrainer` cannot work: it needs a CUDA device, and vLLM to send weights."""
    import torch

    if not torch.cuda.is_available():
        raise ConfigError(
            "AsyncGRPOTrainer of TRL needs a CUDA device, and there is none. On other hardware use recipes/grpo_mle.py with "
            "`overlap_execution: true`."
        )
    if not use_peft and importlib.util.find_spec("vllm") is None:
        raise missing_extra("vllm", "vllm")


def check_task_ids(tasks: Mapping[str, TaskSpec]) -> None:
    """Raise `ConfigError` where two tasks have the same id, by which rollouts are told apart."""
    ids = [task.id for task in tasks.values()]
    if len(set(ids)) < len(ids):
        raise ConfigError(f"`tasks` {list(tasks)} have the ids {ids}, which must differ: change `id` in a task.yaml.")


def check_chat_template(tokenizer: Any, name: str) -> None:
    """Raise `ConfigError` where the model `name` has no chat template."""
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"The tokenizer of {name!r} has no chat template, and prompts are chat messages. Use an instruction-tuned model, or "
            "fine-tune this one with recipes/sft_mle.py."
        )


def model_init_kwargs(model_args: Any, training_args: Any) -> dict[str, Any]:
    """How `from_pretrained` is to load the model; `training_args.model_init_kwargs` win."""
    return {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        "trust_remote_code": training_args.trust_remote_code,
        **(training_args.model_init_kwargs or {}),
    }


def load_tokenizer(model_args: Any, training_args: Any) -> Any:
    """The tokenizer of `model_name_or_path`, padded on the left.

    Raises:
        ConfigError: there is no such model, or it cannot be reached.
    """
    from transformers import AutoTokenizer

    name = model_args.model_name_or_path
    try:
        return AutoTokenizer.from_pretrained(
            name,
            revision=model_args.model_revision,
            trust_remote_code=training_args.trust_remote_code,
            padding_side="left",
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"`model_name_or_path` is {name!r}, which cannot be loaded: {error}") from error


def accelerators() -> str:
    """The accelerators that training would use on this machine, in words."""
    import torch

    if not torch.cuda.is_available():
        return "none: training runs on the CPU"
    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}"


def make_instrumenter(config: InstrumentationConfig) -> ASTInstrumenter | LLMInstrumenter:
    """The instrumenter that the settings ask for; a model in this process where they name no endpoint.

    Raises:
        UserError: a package is missing, the variable with the key is not set, or the model cannot be loaded.
    """
    if config.instrumenter == "ast":
        return ASTInstrumenter()
    if config.endpoint is not None:
        return LLMInstrumenter(config)
    from trl_mle.language_models.transformers_backend import TransformersBackend

    max_tokens = config.max_tokens or DEFAULT_MAX_TOKENS[config.answer_format]
    return LLMInstrumenter(config, backend=TransformersBackend(config.model, max_tokens))
