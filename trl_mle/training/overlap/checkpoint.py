"""Completions in flight, written into a checkpoint and read back; one file per process."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from trl_mle.training.overlap.in_flight import Group, GroupKey, Row
from trl_mle.training.weighting.actions import rename_old_column

logger = logging.getLogger(__name__)


def save(
    folder: Path,
    accelerator: Accelerator,
    generations: int,
    groups: Mapping[GroupKey, Group],
    rows: Iterable[Row],
) -> None:
    """Write this process's rows, and the groups of all processes, to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {"generations": generations, "processes": accelerator.num_processes}
    state["groups"] = {key: (group.layout, group.generated_at) for key, group in groups.items()}
    state["rows"] = [row.plain() for row in rows]
    torch.save(state, folder / _file_name(accelerator))


def load(folder: Path, accelerator: Accelerator) -> tuple[int, dict[GroupKey, Group], list[Row]] | None:
    """Generation batches so far, groups and this process's rows; `None` unless every process can read its file.

    To be called by all processes.
    """
    state, reason = _read(folder / _file_name(accelerator), accelerator.num_processes)
    # A group may lie on several processes, so all of them resume or none does.
    if not all(gather_object([state is not None])):
        logger.warning(
            "What was in flight at the checkpoint is lost on this process or another, and is generated anew (%s).",
            reason or "see the other process",
        )
        return None
    assert state is not None
    groups = {key: Group(tuple(layout), generated_at) for key, (layout, generated_at) in state["groups"].items()}
    rows = [Row(**plain) for plain in state["rows"]]
    for row in rows:
        rename_old_column(row.columns)
    return state["generations"], groups, rows


def _read(path: Path, processes: int) -> tuple[dict[str, Any] | None, str]:
    """State of a file, and the reason if it cannot be used."""
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    if state["processes"] != processes:
        return None, f"it was written by {state['processes']} processes, and these are {processes}"
    return state, ""


def _file_name(accelerator: Accelerator) -> str:
    return f"in_flight_{accelerator.process_index}.pt"
