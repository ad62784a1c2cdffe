"""The policy that a script starts from: a whole model, or an adapter on its base model."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from trl_mle.errors import ConfigError

logger = logging.getLogger(__name__)

ADAPTER_CONFIG = "adapter_config.json"


def trainer_arguments(model_args: Any, training_args: Any) -> dict[str, Any]:
    """`model`, `peft_config` and `quantization_config` for a trainer of TRL.

    The name of a whole model is passed on. An adapter, such as `trl-mle sft` saves it, is loaded on its base model: with
    `use_peft` the same adapter is trained further, so the run's result is an adapter of the same base model. Without it the
    adapter is merged, and all weights are trained.

    Raises:
        ConfigError: the adapter's base model cannot be loaded, or it cannot be merged because `load_in_4bit` or `load_in_8bit`
            is set.
    """
    from trl import get_peft_config, get_quantization_config

    name = model_args.model_name_or_path
    arguments = {
        "model": name,
        "peft_config": get_peft_config(model_args),
        "quantization_config": get_quantization_config(model_args),
    }
    adapter = read_adapter(name, model_args.model_revision)
    if adapter is None:
        return arguments
    model = _load_adapter(name, adapter, arguments, training_args, model_args.use_peft)
    # These belong to the loading, which is done.
    training_args.model_init_kwargs = None
    return {"model": model, "peft_config": None, "quantization_config": None}


def read_adapter(name: str, revision: str | None = None) -> dict[str, Any] | None:
    """The adapter's configuration if `name` is an adapter, on disk or on the hub, otherwise `None`.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    from transformers.utils import find_adapter_config_file

    path: str | None = None
    if Path(name).is_dir():
        # Of a folder with both, transformers loads the model, with the adapter on it.
        if Path(name, ADAPTER_CONFIG).exists() and not Path(name, "config.json").exists():
            path = str(Path(name, ADAPTER_CONFIG))
    else:
        try:
            path = find_adapter_config_file(name, revision=revision)
        except (OSError, ValueError):  # no such model: whoever loads it says so
            path = None
    if path is None:
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no mapping")
    except ValueError as error:
        raise ConfigError(
            f"`model_name_or_path` is {name!r}, whose {ADAPTER_CONFIG} cannot be read: {error}."
        ) from error
    return content


def base_model_of(name: str, adapter: dict[str, Any]) -> str:
    """Hub id or path of an adapter's base model.

    Raises:
        ConfigError: the adapter names none, or it is a path without a model.
    """
    base = adapter.get("base_model_name_or_path")
    if not base:
        raise ConfigError(
            f"`model_name_or_path` is {name!r}, an adapter whose {ADAPTER_CONFIG} names no base model. Write its hub id or path "
            "there, as `base_model_name_or_path`."
        )
    is_path = base.startswith((".", "/")) or base.count("/") > 1
    if is_path and not Path(base, "config.json").exists():
        raise ConfigError(
            f"`model_name_or_path` is {name!r}, an adapter of the base model {base!r}, and there is no model. Run from the folder "
            f"that this path begins in, or change `base_model_name_or_path` in {Path(name) / ADAPTER_CONFIG}."
        )
    return str(base)


def check_not_adapter(name: str, revision: str | None = None) -> None:
    """Raise `ConfigError` if `name` is an adapter: TRL's asynchronous trainer takes whole models only."""
    if read_adapter(name, revision) is not None:
        raise ConfigError(
            f"`model_name_or_path` is {name!r}, an adapter, and the asynchronous trainer takes whole models only. Merge it: "
            f"`AutoPeftModelForCausalLM.from_pretrained({name!r}).merge_and_unload().save_pretrained(FOLDER)` (from peft), save "
            "its tokenizer into the same folder, and give that folder. `trl-mle grpo` trains the adapter as it is."
        )


def _load_adapter(
    name: str, adapter: dict[str, Any], arguments: dict[str, Any], training_args: Any, use_peft: bool
) -> Any:
    """The adapter on its base model; merged into it unless `use_peft`."""
    from peft import PeftModel
    from trl.trainer.utils import create_model_from_path

    quantization = arguments["quantization_config"]
    if quantization is not None and not use_peft:
        raise ConfigError(
            f"`model_name_or_path` is {name!r}, an adapter, and `load_in_4bit` or `load_in_8bit` is set without `use_peft`: "
            "quantised weights cannot be trained. Set `use_peft: true` to train the adapter."
        )
    base = base_model_of(name, adapter)
    settings = dict(training_args.model_init_kwargs or {})
    # The revision is the adapter's. That of its base model stands in the adapter's configuration.
    settings["revision"] = adapter.get("revision") or "main"
    if quantization is not None:
        settings["quantization_config"] = quantization
    if training_args.distributed_state.distributed_type in ("MULTI_GPU", "DEEPSPEED"):
        settings["device_map"] = None  # as TRL does: the trainer places the model
    try:
        whole = create_model_from_path(base, **settings)
        model: Any = PeftModel.from_pretrained(
            whole,
            name,
            is_trainable=use_peft,
            autocast_adapter_dtype=not _is_zero_3(training_args) or quantization is not None,
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"`model_name_or_path` is {name!r}, an adapter of the base model {base!r}, which cannot be loaded: {error}"
        ) from error
    if not use_peft:
        return model.merge_and_unload()
    _warn_of_other_shape(model, arguments["peft_config"])
    return model


def _is_zero_3(training_args: Any) -> bool:
    """Whether DeepSpeed gathers parameters of one type only, so that the adapter must have that of the model."""
    plugin = getattr(training_args, "deepspeed_plugin", None)
    return plugin is not None and plugin.zero_stage == 3


def _warn_of_other_shape(model: Any, wanted: Any) -> None:
    """Name the settings of `lora_r` and its kin that the loaded adapter does not follow."""
    loaded = model.peft_config[model.active_adapter]
    differing = [
        f"`{key}` is {getattr(loaded, field)}, not {getattr(wanted, field)}"
        for key, field in (("lora_r", "r"), ("lora_alpha", "lora_alpha"))
        if getattr(loaded, field, None) != getattr(wanted, field)
    ]
    if differing:
        logger.warning("The loaded adapter is trained further as it is: %s.", "; ".join(differing))
