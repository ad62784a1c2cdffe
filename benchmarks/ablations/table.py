"""The results as Markdown, put between two marks of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- ablation: begin -->", "<!-- ablation: end -->"
PAPER = (
    ("instrumentation", "milestones", "+22 %", "22.06 % worse without"),
    ("duration weights", "durations", "+3.85 %", "3.85 % worse without"),
    ("self-improvement prompts", "improve", "+8 %", "8 % better with"),
)
"""Part, arm, the paper's figure, and how the paper words it."""
TITLES = {"programs": "At equal numbers of programs", "clock": "At equal wall-clock"}
COLUMNS = {
    "score": "score",
    "score of the best of 16": "best of 16",
    "best program": "best program",
    "valid share": "valid",
    "slow share": "slow",
    "programs per second": "programs/s",
    "seconds to 90 % of the final reward": "s to 90 %",
    "programs to 90 % of the final reward": "programs to 90 %",
    "samples to the first valid program": "first valid",
}
"""Figure -> head of its column."""


def markdown(result: Mapping[str, Any]) -> str:
    """All tables."""
    lines: list[str] = []
    for budget, parts in result["results"].items():
        for part, arms in parts.items():
            title = TITLES[budget] + (", one policy for all tasks" if part == "all" else "")
            lines += [f"### {title}", "", *arms_table(arms, held_out=part == "all"), ""]
            if len({tuple(arm["by task"]) for arm in arms.values()}) > 1:
                lines += ["Not all arms have the same tasks: compare them by the differences below, or by task.", ""]
            lines += ["Differences, with 95 % intervals:", "", *differences_table(arms), ""]
            if len(tasks := tasks_of(arms)) > 1:
                lines += [
                    "Score of a sample by task, and how many runs it is the mean of:",
                    "",
                    *tasks_table(arms, tasks),
                    "",
                ]
                if learned := learned_table(arms, tasks):
                    lines += [LEARNED_TITLE, "", *learned, ""]
                lines += ["Differences of the score by task:", "", *task_differences_table(arms, tasks), ""]
        lines += [f"**Beside the paper, {TITLES[budget].lower()}**", "", *paper_table(parts.get("each", {})), ""]
    lines += [f"`{result['command']}`, {result['machine']}; {result['runs']} runs."]
    return "\n".join(lines)


LEARNED_TITLE = (
    "Public and private score of the valid programs of the last fifth of the runs, on the scale of the reward (-1 to 1). The "
    "reward is the public one:"
)

HEADLINE = ("plain", "plain_mild", "no_training", "everything")
"""Arms of the short table of the README, if they were run."""


def headline(result: Mapping[str, Any]) -> str | None:
    """The short table at equal wall-clock, with the differences of `everything`; `None` if no pair of them was run."""
    arms = result["results"].get("clock", {}).get("each", {})
    if "everything" not in arms or "plain" not in arms:
        return None
    shown = ("score", "score of the best of 16", "valid share", "programs per second")
    lines = ["| task | | " + " | ".join(COLUMNS[figure] for figure in shown) + " |", "|" + "---|" * (len(shown) + 2)]
    for task in tasks_of(arms):
        for name in HEADLINE:
            if task not in arms.get(name, {}).get("by task", {}):
                continue
            cells = [number(arms[name]["by task"][task]["means"].get(figure)) for figure in shown]
            label = "trl_mle, everything" if name == "everything" else arms[name]["label"].rpartition(") ")[2]
            lines.append(f"| `{task}` | {label} | " + " | ".join(cells) + " |")
    found = arms["everything"]["differences"]["plain"]
    score, best, speed = (found[figure] for figure in ("score", "score of the best of 16", "programs per second"))
    if score is None:
        return None
    times = (
        ""
        if not speed or speed["relative"] is None
        else f", {speed['relative'] + 1:.1f} times the programs per second"
    )
    lines += ["", f"Everything minus plain: score {_interval(score)}, best of 16 {_interval(best)}{times}."]
    return "\n".join([*lines, f"{score['pairs']} pairs of the same task and seed, 95 % intervals."])


def arms_table(arms: Mapping[str, Any], held_out: bool = False) -> list[str]:
    """One row per arm with its means."""
    columns = dict(COLUMNS)
    if held_out:
        columns |= {"held out: score": "held-out score", "held out: score of the best of 16": "held-out best of 16"}
    head = ["arm", "name", "tasks, runs", *columns.values()]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, arm in arms.items():
        cells = [number(arm["means"].get(figure)) for figure in columns]
        rows.append(f"| {arm['label']} | `{name}` | {arm['tasks']}, {arm['runs']} | " + " | ".join(cells) + " |")
    return rows


def differences_table(arms: Mapping[str, Any]) -> list[str]:
    """One row per arm and arm that it is compared to."""
    shown = ("score", "score of the best of 16", "valid share", "slow share")
    rows = ["| arm | against | pairs | " + " | ".join(COLUMNS[figure] for figure in shown) + " | score, relative |"]
    rows.append("|" + "---|" * (len(shown) + 4))
    for name, arm in arms.items():
        for other, found in arm.get("differences", {}).items():
            score = found["score"] or {}
            cells = [_interval(found[figure]) for figure in shown]
            rows.append(
                f"| `{name}` | `{other}` | {score.get('pairs', 0)} | " + " | ".join(cells) + f" | {_percent(score)} |"
            )
    return rows


def tasks_of(arms: Mapping[str, Any]) -> list[str]:
    """All tasks of the arms."""
    return sorted({task for arm in arms.values() for task in arm["by task"]})


def tasks_table(arms: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    """One row per arm with its mean score on each task."""
    rows = ["| name | " + " | ".join(f"`{task}`" for task in tasks) + " |", "|" + "---|" * (len(tasks) + 1)]
    for name, arm in arms.items():
        found = (arm["by task"].get(task) for task in tasks)
        cells = ["-" if of is None else f"{number(of['means']['score'])} ({of['runs']})" for of in found]
        rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return rows


def learned_table(arms: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    """One row per arm with public and private scores of the end of its trainings; empty if none has them."""
    rows = ["| name | " + " | ".join(f"`{task}`" for task in tasks) + " |", "|" + "---|" * (len(tasks) + 1)]
    for name, arm in arms.items():
        means = [arm["by task"].get(task, {}).get("means", {}) for task in tasks]
        pairs = [[of.get(f"{part} at the end") for part in ("public", "private")] for of in means]
        if any(None not in pair for pair in pairs):
            cells = ["-" if None in pair else ", ".join(map(number, pair)) for pair in pairs]
            rows.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return rows if len(rows) > 2 else []


def task_differences_table(arms: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    """One row per arm and arm that it is compared to, with the difference of the score on each task."""
    head = ["arm", "against", *(f"`{task}`" for task in tasks)]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, arm in arms.items():
        for other, found in arm.get("differences by task", {}).items():
            cells = [_interval(found.get(task)) for task in tasks]
            rows.append(f"| `{name}` | `{other}` | " + " | ".join(cells) + " |")
    return rows


def paper_table(arms: Mapping[str, Any]) -> list[str]:
    """The paper's ablations beside ours, by the relative difference of the score."""
    rows = ["| part | the paper | score, relative | best of 16, relative | same direction |", "|---|---|---|---|---|"]
    for part, name, figure, words in PAPER:
        found = arms.get(name, {}).get("differences", {}).get("milestones" if name != "milestones" else "sandbox", {})
        score, best = found.get("score"), found.get("score of the best of 16")
        rows.append(f"| {part} | {figure} ({words}) | {_percent(score)} | {_percent(best)} | {direction(score)} |")
    return rows


def direction(found: Mapping[str, Any] | None) -> str:
    """Whether a difference has the paper's sign, all of which are positive."""
    if not found:
        return "not run"
    low, high = found["low"], found["high"]
    if low is None or high is None:
        return "no interval"
    return "yes" if low > 0 else "no, the opposite" if high < 0 else "cannot be told"


def number(value: float | None) -> str:
    """A number with three significant places."""
    return "-" if value is None else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


def _interval(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "-"
    ends = "" if found["low"] is None else f" ({found['low']:+.3f} to {found['high']:+.3f})"
    return f"{found['difference']:+.3f}{ends}"


def _percent(found: Mapping[str, Any] | None) -> str:
    if not found or found["relative"] is None:
        return "-"
    low, high = found["relative low"], found["relative high"]
    return f"{found['relative']:+.0%}" + ("" if low is None or high is None else f" ({low:+.0%} to {high:+.0%})")


def insert(page: Path, text: str) -> None:
    """Put `text` between the two marks of a page.

    Raises:
        ValueError: the page has no marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks {BEGIN} or {END}.")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
