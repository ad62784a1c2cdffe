"""The picture of the results: scores by arm and task, and the fast-bias panel."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ablations.table import TITLES, tasks_of

COLOURS = ("#1d3557", "#c8553d", "#2a9d5c", "#e9a03b", "#8d99ae", "#7b2d8b")
MARKERS = ("o", "s", "^", "D", "v", "P")
"""Of the tasks."""
FAST_BIAS = {
    "plain": ("#8d99ae", "-"),
    "sandbox": ("#8d99ae", "--"),
    "everything": ("#e9a03b", "-"),
    "milestones": ("#1d3557", "-"),
    "durations": ("#c8553d", "-"),
    "durations_bare": ("#c8553d", ":"),
    "durations_inverse": ("#2a9d5c", "-"),
    "lossy": ("#1d3557", "--"),
    "lossy_durations": ("#c8553d", "--"),
    "lossy_inverse": ("#2a9d5c", "--"),
}
"""Arms of the fast-bias panel -> colour, line."""


def draw(results: Mapping[str, Any], path: Path) -> None:
    """One row of panels per budget."""
    parts = {budget: found["each"] for budget, found in results.items() if found.get("each")}
    if not parts:
        return
    heights = [1.5 + 0.28 * len(arms) for arms in parts.values()]
    figure, panels = plt.subplots(
        len(parts), 2, figsize=(13, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    tasks = dict.fromkeys(task for arms in parts.values() for task in tasks_of(arms))
    styles = dict(zip(tasks, zip(cycle(COLOURS), cycle(MARKERS), strict=False), strict=False))
    points: dict[str, Any] = {}
    for (left, right), (budget, arms) in zip(panels, parts.items(), strict=True):
        points |= _scores(left, arms, TITLES[budget], styles)
        _fast_bias(right, arms)
    # Beside the points there is no free place for it.
    figure.legend(points.values(), points, loc="outside upper left", ncols=len(points), fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _scores(panel: Any, arms: Mapping[str, Any], title: str, styles: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Mean score of each arm on each task, and around it the interval of the difference from the plain arm, or else from its own
    other arm. Returns task -> its points."""
    tasks = tasks_of(arms)
    points = {}
    for number, task in enumerate(tasks):
        colour, marker = styles[task]
        rows = []
        for at, arm in enumerate(arms.values()):
            score = arm["by task"].get(task, {}).get("means", {}).get("score")
            if score is None:
                continue
            row = at + 0.6 * ((number + 1) / (len(tasks) + 1) - 0.5)
            rows.append((score, row))
            differences = arm.get("differences by task", {})
            found = (differences.get("plain") or next(iter(differences.values()), None) or {}).get(task)
            if found and found["low"] is not None:
                shift = score - found["difference"]
                panel.plot([shift + found["low"], shift + found["high"]], [row, row], color=colour, linewidth=1)
        (points[task],) = panel.plot(*zip(*rows, strict=True), marker, color=colour)
    panel.set_yticks(range(len(arms)), [arm["label"] for arm in arms.values()], fontsize=8)
    panel.invert_yaxis()
    panel.set(title=title, xlabel="private score of a sample: 0 baseline, 1 reference", xlim=(0, None))
    panel.grid(alpha=0.3)
    return points


def _fast_bias(panel: Any, arms: Mapping[str, Any]) -> None:
    """Of the arms that have run on all of the panel's tasks: shares of other tasks cannot be compared."""
    most = max((set(arms[name]["by task"]) for name in FAST_BIAS if name in arms), key=len, default=set())
    for name, (colour, line) in FAST_BIAS.items():
        is_shown = name in arms and most <= set(arms[name]["by task"])
        shares = arms[name]["slow share by sixths"] if is_shown else []
        known = [(at, share) for at, share in enumerate(shares, start=1) if share is not None]
        if known:
            panel.plot(*zip(*known, strict=True), line, color=colour, label=arms[name]["label"])
    panel.set(
        title=f"Share of the slow families among valid programs, {len(most)} tasks",
        xlabel="sixth of the run",
        ylabel="slow families",
        ylim=(0, 1),
    )
    panel.grid(alpha=0.3)
    if panel.lines:
        panel.legend(fontsize=7)
