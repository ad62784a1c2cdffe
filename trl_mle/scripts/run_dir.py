"""Files of a run beside its rollouts: resolved configuration and metrics. An earlier run is moved aside, never overwritten."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from transformers import TrainerCallback

from trl_mle.errors import ConfigError
from trl_mle.evaluation.run_files import CONFIG_FILE, LOG_FILE, read_settings
from trl_mle.experience import STORE_FILE
from trl_mle.training.resume.writing import disk_errors
from trl_mle.training.rollout_writer import path_aside
from trl_mle.yaml_values import Loader, dump

RECORDED_PACKAGES = ("trl_mle", "trl", "transformers", "torch", "accelerate", "datasets", "scikit-learn", "numpy")
SECRET = re.compile(r"(?:^|_)(?:token|api_key|secret|password)$", re.IGNORECASE)
"""Keys whose values are never written to disk."""
HOW_TO_RUN = ("resume_from_checkpoint", "local_rank", "disable_tqdm", "log_level", "log_level_replica")
"""Settings that a command may change without changing what is trained."""


RUN_FILES = ("rollouts", LOG_FILE, STORE_FILE)
"""Of these, a folder that holds a run has one at least."""


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return any((folder / name).exists() for name in RUN_FILES)


def check_no_run(folder: Path) -> None:
    """Raise `ConfigError` if `folder` holds a run, whose policy and checkpoints another training would overwrite."""
    if holds_run(folder):
        raise ConfigError(
            f"`output_dir` {str(folder)!r} holds a run, whose policy would be overwritten. Choose another `output_dir`."
        )


def move_earlier_run(folder: Path) -> None:
    """Rename `folder` to `folder-DATE-TIME` if it holds a run, so that a new run overwrites nothing.

    Raises:
        ConfigError: it cannot be renamed, such as the mount point of a disk.
    """
    if not holds_run(folder):
        return
    target = path_aside(folder)
    try:
        folder.rename(target)
    except OSError as error:
        raise ConfigError(
            f"`output_dir` {str(folder)!r} holds an earlier run, and cannot be moved aside: {error.strerror or error}. Choose a "
            "folder in it, or continue that run with `--resume_from_checkpoint true`."
        ) from error
    print(f"The earlier run in {folder} is now in {target}.", file=sys.stderr)


class RunRecorder(TrainerCallback):
    """Writes `config.yaml` when training begins, and one line of `metrics.jsonl` per log of the trainer.

    A resumed run first drops the lines past the step that it resumes from, so that every step stands once. It says which
    settings have changed.

    Args:
        folder (`Path`):
            The run directory.
        settings (mapping from section to settings):
            Content of `config.yaml`; the versions of the packages are added.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]):
        self.folder = folder
        self.settings = settings

    @property
    def metrics(self) -> Path:
        return self.folder / LOG_FILE

    def on_train_begin(self, args, state, control, **kwargs):
        if not state.is_world_process_zero:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        versions = {"python": sys.version.split()[0], **{name: _version(name) for name in RECORDED_PACKAGES}}
        content = {**{name: dict(section) for name, section in self.settings.items()}, "versions": versions}
        config, text = self.folder / CONFIG_FILE, dump(_plain(content))
        if state.global_step > 0:
            _tell_of_changes(read_settings(self.folder), yaml.load(text, Loader), state.global_step)
        _replace(config, text.encode())
        if self.metrics.exists():
            lines = self.metrics.read_bytes().splitlines(keepends=True)
            earlier = [line for line in lines if (step := _step_of(line)) is not None and step <= state.global_step]
            _replace(self.metrics, b"".join(earlier))

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs:
            with disk_errors(self.metrics, "log"), self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": state.global_step, **_plain(logs)}) + "\n")


def _step_of(line: bytes) -> int | None:
    """The step of a line of metrics, or `None` if it is damaged: a run that is killed may cut its last line off."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = content.get("step") if isinstance(content, dict) else None
    return step if line.endswith(b"\n") and isinstance(step, int) else None


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def _tell_of_changes(earlier: Mapping[str, Any], now: Mapping[str, Any], step: int) -> None:
    """Name on stderr the settings and versions in which a resumed run differs from the run so far."""
    changes = []
    for section, values in now.items():
        before = earlier.get(section)
        if not isinstance(before, dict):  # another program, or another version, may have written other sections
            continue
        for name in sorted({*values, *before}, key=str):
            old, new = before.get(name), values.get(name)
            if old != new and name not in HOW_TO_RUN:
                changes.append(f"  {section}.{name}: {str(old)[:80]} -> {str(new)[:80]}")
    if changes:
        print(f"Resumed at step {step} with other settings than before:", *changes, sep="\n", file=sys.stderr)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _plain(value: Any) -> Any:
    """`value` as types that JSON and YAML have. Not-a-number becomes null, a secret becomes `<hidden>`."""
    if isinstance(value, Mapping):
        return {
            str(key): "<hidden>" if item and SECRET.search(str(key)) else _plain(item) for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        # A subclass, such as a string enumeration, would be written to YAML as a Python object.
        return str(value) if type(value) not in (bool, int, str, type(None)) else value
    return str(value)
