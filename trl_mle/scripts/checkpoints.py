"""Checkpoints to resume from. A run that is killed while it saves leaves half of one, which is passed over."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from trl_mle.errors import ConfigError
from trl_mle.training.collapse import record
from trl_mle.training.resume.manifest import MANIFEST, TRAINER_STATE, missing_files

CHECKPOINT = re.compile(r"checkpoint-(\d+)")
WEIGHTS = ("*model*.safetensors", "*model*.bin", "pytorch_model_fsdp*", "global_step*")
"""Model or adapter, whole or in shards; of FSDP; of DeepSpeed."""
IN_FLIGHT = "in_flight_"
"""Start of the names of the files that hold completions in flight."""
OPTIMIZERS = ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*")


def resume_from(training_args: Any, warn: bool = False) -> str | None:
    """The checkpoint to resume from: the newest whole one of `output_dir` for `true`, or the folder that is named.

    `auto` is `true` if there is a whole checkpoint, and starts afresh otherwise: one command starts a run and continues it.

    Every process finds the same one, as long as all see the same files.

    Args:
        training_args (`transformers.TrainingArguments`):
            Settings of the training.
        warn (`bool`, *optional*, defaults to `False`):
            Whether the main process names the damaged checkpoints that are passed over.

    Raises:
        ConfigError: there is no such checkpoint, or it is damaged.
    """
    value = training_args.resume_from_checkpoint
    value = value.strip() if isinstance(value, str) else value
    if value is None or str(value).lower() in ("false", "no", "0", ""):
        return None
    starts_afresh = starts_or_resumes(training_args)
    if not starts_afresh and str(value).lower() not in ("true", "yes", "1"):
        return _named(Path(str(value)))
    damaged: list[str] = []
    for folder in _newest_first(Path(training_args.output_dir)):
        problem = find_damage(folder)
        if problem is None:
            if damaged and warn and training_args.process_index == 0:
                print(f"Passed over {'; '.join(damaged)}. Resuming from {folder}.", file=sys.stderr)
            return str(folder)
        damaged.append(f"{folder}: {problem}")
    if starts_afresh:
        if damaged and warn and training_args.process_index == 0:
            print(f"No checkpoint is whole, so the run starts afresh: {'; '.join(damaged)}.", file=sys.stderr)
        return None
    if damaged:
        raise ConfigError(
            f"`resume_from_checkpoint` is true, but no checkpoint is whole: {'; '.join(damaged)}. Leave it out to start afresh."
        )
    raise ConfigError(
        f"`resume_from_checkpoint` is true, but {str(training_args.output_dir)!r} has no checkpoint. Leave it out to start "
        "afresh."
    )


def _named(folder: Path) -> str:
    try:
        is_folder = folder.is_dir()
    except OSError:  # a name that is too long
        is_folder = False
    if is_folder and (folder.name.startswith(record.COLLAPSED) or folder.name in _left_behind(folder.parent)):
        raise ConfigError(
            f"`resume_from_checkpoint` is {str(folder)!r}, of a policy that has collapsed: the run has gone back to an earlier "
            "checkpoint. Give `true` for that one."
        )
    if not is_folder:
        raise ConfigError(f"`resume_from_checkpoint` is {str(folder)!r}, but there is no such folder.")
    problem = find_damage(folder)
    if problem is not None:
        raise ConfigError(
            f"`resume_from_checkpoint` is {str(folder)!r}, which is no whole checkpoint: {problem}. Name another one, or "
            "give `true` for the newest whole one of `output_dir`."
        )
    return str(folder)


def starts_or_resumes(training_args: Any) -> bool:
    """Whether the same command starts a run and continues it (`resume_from_checkpoint: auto`)."""
    return str(training_args.resume_from_checkpoint).strip().lower() == "auto"


def _newest_first(output_dir: Path) -> Iterator[Path]:
    if not output_dir.is_dir():
        return
    left_behind = _left_behind(output_dir)
    steps = {
        path: match
        for path in output_dir.iterdir()
        if (match := CHECKPOINT.fullmatch(path.name)) and path.is_dir() and path.name not in left_behind
    }
    yield from sorted(steps, key=lambda path: int(steps[path][1]), reverse=True)


def _left_behind(output_dir: Path) -> Collection[str]:
    """Checkpoints of a policy that has collapsed, which a process was killed at renaming. The trainer renames them."""
    rollback = record.read(output_dir)
    return () if rollback is None else rollback.to_rename


def find_damage(folder: Path) -> str | None:
    """What is missing or cut off in a checkpoint, or `None` if it is whole.

    Only ends and headers of large files are read. A file of the right length with other bytes is not noticed. Completions in
    flight are no part of it: where their file is damaged, they are generated anew (`training/overlap/checkpoint.py`).
    """
    try:
        return next(_damage(folder), None)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    except (ValueError, TypeError, AttributeError) as error:  # a file holds something else than its name says
        return f"a file has unexpected content ({type(error).__name__}: {error})"


def _damage(folder: Path) -> Iterator[str]:
    state = folder / TRAINER_STATE
    if not state.exists():
        yield f"{TRAINER_STATE} is missing"
    elif not isinstance(content := _json(state), dict) or not isinstance(content.get("global_step"), int):
        yield f"{TRAINER_STATE} is cut off"
    missing = missing_files(folder)
    if missing is None:
        yield f"{MANIFEST} is cut off"
    yield from (f"{name} is missing" for name in missing or ())
    if not any(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        yield "the weights of the model are missing"
    for index in folder.glob("*.index.json"):
        content = _json(index)
        shards = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            yield f"{index.name} is cut off"
            continue
        yield from (f"{shard} is missing" for shard in sorted(set(shards.values())) if not (folder / shard).exists())
    yield from (f"{path.name} is cut off" for path in sorted(folder.glob("*config.json")) if _json(path) is None)
    yield from (
        f"{path.name} is cut off" for path in sorted(folder.glob("*.safetensors")) if not _is_safetensors(path)
    )
    # `torch.save` writes zip archives, whose directory is at their end.
    saved = [path for pattern in ("*.pt", "*.pth", "*.bin") for path in sorted(folder.glob(pattern))]
    saved = [path for path in saved if path.is_file() and not path.name.startswith(IN_FLIGHT)]
    yield from (f"{path.name} is cut off" for path in saved if not zipfile.is_zipfile(path))
    # Checkpoints without scheduler have only the model (`save_only_model`).
    if (folder / "scheduler.pt").exists() and not any(path for name in OPTIMIZERS for path in folder.glob(name)):
        yield "the state of the optimizer is missing"
    latest = folder / "latest"  # of DeepSpeed
    if latest.is_file() and not (folder / latest.read_text(encoding="utf-8", errors="replace").strip()).is_dir():
        yield "the folder that DeepSpeed's file `latest` names is missing"


def _json(path: Path) -> Any:
    """Content of a file, or `None` if it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None


def _is_safetensors(path: Path) -> bool:
    """Whether the header is whole and the file as long as it says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return True
    except (SafetensorError, OSError):
        return False
