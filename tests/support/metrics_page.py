"""The page of metrics, compared with names that were logged."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.md"
PREFIXES = ("programs", "duration", "instrumentation", "sandbox", "overlap", "groups", "reward_scale", "collapse", "turns",
            "tools", "time", "episodes", "improve", "curriculum", "task", "sample")  # fmt: skip
"""First parts of the names of this project's metrics."""
OF_TRL = re.compile(r"tools/(call|failure)_frequency|sample/(?!dropped_duration_mean).+|rewards?/.+")


def documented_metrics() -> list[str]:
    """Names of the page; `<...>` stands for any part of a name."""
    return re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def undocumented(names: Iterable[str]) -> set[str]:
    """Those of `names` that are this project's metrics and that no line of the page describes."""
    patterns = [
        re.compile("".join(".+" if part.startswith("<") else re.escape(part) for part in re.split(r"(<\w+>)", name)))
        for name in documented_metrics()
    ]
    own = (name.removeprefix("eval_") for name in names)
    own = (name for name in own if name.split("/")[0] in PREFIXES and "/" in name and not OF_TRL.fullmatch(name))
    return {name for name in own if not any(pattern.fullmatch(name) for pattern in patterns)}


def logged(trainer: Any) -> set[str]:
    """Names of all metrics that a trainer has logged."""
    return {name for log in trainer.state.log_history for name in log}
