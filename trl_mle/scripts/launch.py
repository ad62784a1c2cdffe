"""Start of a training script: in this process, or through `accelerate launch` for several processes."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import yaml

from trl_mle.errors import ConfigError
from trl_mle.scripts.console import let_threads_wait
from trl_mle.scripts.settings import recipe_path

SCRIPTS = {"grpo": "grpo", "async-grpo": "async_grpo", "sft": "sft"}
"""Command -> module of `trl_mle.scripts`."""
LAUNCHER_OPTIONS = (
    "config_file", "num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port", "gpu_ids",
    "mixed_precision",
)  # fmt: skip
"""Options of `accelerate launch` that `trl-mle` passes on."""
CONFIGS = Path(__file__).parents[1] / "accelerate_configs"
"""Folder of the packaged launcher files."""


def launch(script: str, arguments: Sequence[str]) -> int:
    """Run a training script and return its exit code.

    It runs in this process, except if `arguments` name an option of the launcher, if accelerate has been configured on this
    machine (`accelerate config`), or if there are several GPUs: then `accelerate launch` starts its processes.

    Args:
        script (`str`):
            One of `SCRIPTS`.
        arguments (sequence of `str`):
            Options of the launcher and flags of the script, in any order.
    """
    if script == "sft":
        let_threads_wait()  # here, because counting GPUs imports torch
    options, flags = split_launcher_options(arguments)
    if not options and not {"-h", "--help"} & set(flags):
        options = default_launcher_options(flags)
    module = f"trl_mle.scripts.{SCRIPTS[script]}"
    if not options:
        return import_module(module).main(flags)

    from accelerate.commands.launch import launch_command, launch_command_parser

    try:
        launch_command(launch_command_parser().parse_args([*options, "--module", module, *flags]))
    except subprocess.CalledProcessError as error:  # the script has said what went wrong
        return error.returncode
    return 0


def split_launcher_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options for `accelerate launch`, and the flags that are left for the script.

    Raises:
        ConfigError: `--accelerate_config` is neither a file nor a packaged launcher file.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--accelerate_config")
    for name in LAUNCHER_OPTIONS:
        parser.add_argument(f"--{name}")
    named, flags = parser.parse_known_args(list(arguments))
    if named.accelerate_config is not None:
        named.config_file = str(_launcher_file(named.accelerate_config))
    options = [part for name in LAUNCHER_OPTIONS if (value := getattr(named, name)) for part in (f"--{name}", value)]
    return options, flags


def _launcher_file(name: str) -> Path:
    packaged = CONFIGS / f"{name}.yaml"
    for path in (Path(name), packaged):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.yaml")))
    raise ConfigError(
        f"`accelerate_config` is {name!r}, which is no file. Give the path of a file, or one of {names}."
    )


def default_launcher_options(flags: Sequence[str]) -> list[str]:
    """Options for `accelerate launch` if the user gave none; empty if the script can run in this process."""
    if "LOCAL_RANK" in os.environ or _uses_cpu(flags):
        return []
    from accelerate.commands.config.config_args import default_config_file

    if os.path.isfile(default_config_file):
        return ["--config_file", default_config_file]
    import torch

    # In one process, transformers would put several GPUs to use by `DataParallel`, which TRL does not support.
    if (gpus := torch.cuda.device_count()) > 1:
        single = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        return ["--multi_gpu", "--num_processes", str(gpus), *single]
    return []


def _uses_cpu(flags: Sequence[str]) -> bool:
    """Whether `use_cpu` is set, by flag or in the YAML file. Wrong files are left to the script, which names the problem."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--use_cpu", nargs="?", const="true")
    parser.add_argument("--config")
    named, _ = parser.parse_known_args(list(flags))
    value = named.use_cpu
    if value is None and named.config is not None:
        try:
            settings = yaml.safe_load(Path(recipe_path(named.config)).read_text(encoding="utf-8"))
            value = settings.get("use_cpu") if isinstance(settings, dict) else None
        except (OSError, ValueError, RecursionError, LookupError, AttributeError, TypeError, yaml.YAMLError):
            return False
    return str(value).lower() in ("true", "1", "yes")
