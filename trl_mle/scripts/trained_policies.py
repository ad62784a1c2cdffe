"""What the run says that a policy comes from: its tasks, and how it was sampled and timed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trl_mle.evaluation.run_files import read_settings


@dataclass(frozen=True)
class Training:
    """Settings of the run that a policy was trained in; `None` where the run does not say."""

    tasks: tuple[str, ...] | None
    """Names of the tasks as the run's settings have them."""
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    program_time_limit_s: float | None


def training_of(model: str) -> Training | None:
    """The training of a policy that is the folder of a run, or one of its checkpoints; `None` for any other policy."""
    folder = Path(model)
    found = (read_settings(parent) for parent in (folder, folder.parent) if folder.is_dir())
    settings = next(filter(None, found), {})
    mle, training = settings.get("mle"), settings.get("training")
    if not isinstance(mle, dict) or not isinstance(training, dict):  # a file of that name that is no run's
        return None
    tasks = mle.get("tasks")
    tasks = (tasks,) if isinstance(tasks, str) else tuple(tasks or ())
    return Training(
        tasks=tuple(map(str, tasks)) or None,
        temperature=_number(training.get("temperature")),
        top_p=_number(training.get("top_p")),
        max_tokens=int(tokens) if (tokens := _number(training.get("max_completion_length"))) else None,
        program_time_limit_s=_number(mle.get("program_time_limit_s")),
    )


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
