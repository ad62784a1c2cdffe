"""Going back to an earlier checkpoint with a lower learning rate."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from trl_mle.training.collapse.record import COLLAPSED
from trl_mle.training.resume.manifest import TRAINER_STATE

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Health:
    """What a generation batch says about the policy that wrote it."""

    step: int
    """Optimizer steps before it was generated."""
    reward: float
    """Mean reward of the batch; NaN if nothing was scored."""
    alarm: bool
    """Whether the policy was broken (`CollapseDetector.is_broken`). One of low entropy that works may be gone back to."""


def step_of(checkpoint: Path) -> int:
    """The optimizer step of a checkpoint's folder, or -1 if the folder is none."""
    number = checkpoint.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
    return int(number) if number.isdecimal() and number != checkpoint.name else -1


def checkpoints(output_dir: Path) -> list[Path]:
    """Checkpoints of a run, oldest step first."""
    folders = (path for path in output_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.is_dir() and step_of(path) >= 0)
    return sorted(folders, key=step_of)


def written_at(checkpoint: Path) -> int | None:
    """When a checkpoint was completed, in nanoseconds; `None` for half a one."""
    try:
        return (checkpoint / TRAINER_STATE).stat().st_mtime_ns
    except OSError:
        return None


def choose(steps: Sequence[int], history: Sequence[Health], lag: int = 0) -> int | None:
    """The step of the checkpoint to go back to, or `None` if none of them is known to be healthy.

    A checkpoint is judged by the batches that its own policy, or the next ones, wrote: the checkpoint of step `s` holds the
    result of update `s`, which the batch of update `s` does not show. Of the healthy ones, the one with the highest mean reward
    over two batches is chosen, and of equal ones the latest. If there is none, it is step 0: the policy that the run was given.

    Args:
        steps (sequence of `int`):
            Steps of the checkpoints.
        history (sequence of [`Health`]):
            One for each generation batch, in order.
        lag (`int`, *optional*, defaults to `0`):
            Optimizer steps that a batch may be older than the policy that is trained on it (`max_staleness` with overlap).
    """
    best: tuple[float, int] | None = None
    for step in steps:
        seen = [health for health in history if health.step >= step + lag][:2]
        if not seen or any(health.alarm or health.reward != health.reward for health in seen):
            continue
        found = (sum(health.reward for health in seen) / len(seen), step)
        if best is None or found >= best:
            best = found
    if best is None:
        return 0 if 0 in steps else None
    return best[1]


def move_aside(folders: Iterable[Path]) -> list[Path]:
    """Rename checkpoints to `_collapsed-STEP`, so that no resume takes one of them. Returns the new paths.

    `push_to_hub` uploads all of `output_dir` except checkpoints and what begins with an underscore.
    """
    moved = []
    for folder in folders:
        name = f"{COLLAPSED}{step_of(folder)}"
        names = (name if number == 1 else f"{name}-{number}" for number in count(1))
        target = next(path for path in (folder.with_name(text) for text in names) if not path.exists())
        moved.append(folder.rename(target))
    return moved


def scale_learning_rate(optimizer: Any, scheduler: Any, factor: float) -> None:
    """Multiply every learning rate of an optimizer and its scheduler, now and for the rest of the schedule."""
    inner = getattr(scheduler, "scheduler", scheduler)  # as `accelerate` wraps it
    for group in optimizer.param_groups:
        for name in ("lr", "initial_lr"):
            if name in group:
                group[name] *= factor
    for name in ("base_lrs", "_last_lr"):
        if hasattr(inner, name):
            setattr(inner, name, [rate * factor for rate in getattr(inner, name)])


def forget_generated(trainer: Any) -> None:
    """Drop what a trainer of TRL has generated and measured, as if its process had just been started."""
    trainer._buffered_inputs = None
    trainer._step = 0
    for metrics in trainer._metrics.values():
        metrics.clear()
    # Weights of a server or engine of vLLM are loaded again.
    if hasattr(trainer, "_last_loaded_step"):
        trainer._last_loaded_step = -1
