"""The picture of an evaluation: valid samples and the best of k over the number of samples, a row of panels per task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trl_mle.errors import missing_extra
from trl_mle.evaluation.entries import Entry
from trl_mle.evaluation.intervals import Estimate
from trl_mle.evaluation.table import EvaluationTable
from trl_mle.reports.png import write_png

MOST_TASKS = 8
"""Most tasks in a picture."""


def plot_evaluation(table: EvaluationTable, path: Path) -> None:
    """Write a PNG: per task, pass@k and the expected private score of the best of k by public score, with intervals.

    The tasks' own programs are horizontal lines. Of more than `MOST_TASKS` tasks the first ones are shown.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except ImportError as error:
        raise missing_extra("matplotlib", "report") from error

    tasks = list(dict.fromkeys(entry.task_id for entry in table.entries))[:MOST_TASKS]
    figure = Figure(figsize=(10, 3.4 * max(1, len(tasks))), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(max(1, len(tasks)), 2, squeeze=False)
    colours = _colours(table)
    for (valid, best), task_id in zip(panels, tasks, strict=False):
        entries = [entry for entry in table.entries if entry.task_id == task_id]
        better = "higher" if entries[0].direction == "maximize" else "lower"
        valid.set_title(_plain(f"{task_id}: at least one of k valid"), fontsize=9)
        best.set_title(
            _plain(f"{task_id}: private {entries[0].metric} of the best of k ({better} is better)"), fontsize=9
        )
        for entry in entries:
            _draw_entry(valid, best, entry, colours)
        valid.set_ylim(-0.02, 1.02)
        for panel in (valid, best):
            panel.set_xscale("log", base=2)
            panel.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:g}"))
            panel.set_xlabel("samples k")
        handles, labels = best.get_legend_handles_labels()
        if not handles:
            handles, labels = valid.get_legend_handles_labels()
        valid.legend(handles, labels, fontsize=7)
    write_png(figure, path)


def _draw_entry(valid: Any, best: Any, entry: Entry, colours: Mapping[str, str]) -> None:
    colour = colours[entry.policy]
    name = entry.policy if entry.kind in ("scratch", "program") else f"{entry.policy} ({entry.kind})"
    style = "--" if entry.kind in ("improve", "agent") else "-"
    if entry.kind == "program":
        if entry.best is not None and entry.best.private_score is not None:
            best.axhline(entry.best.private_score, color=colour, linestyle=":", linewidth=1, label=_plain(name))
        return
    _curve(valid, entry.pass_at, colour, style, name)
    _curve(best, entry.best_at, colour, style, name)


def _curve(panel: Any, estimates: Mapping[int, Estimate], colour: str, style: str, name: str) -> None:
    if not estimates:
        return
    sizes = sorted(estimates)
    panel.plot(sizes, [estimates[k].value for k in sizes], style, color=colour, marker=".", label=_plain(name))
    within = [k for k in sizes if estimates[k].low is not None]
    lows, highs = [estimates[k].low for k in within], [estimates[k].high for k in within]
    panel.fill_between(within, lows, highs, color=colour, alpha=0.15, linewidth=0)


def _colours(table: EvaluationTable) -> dict[str, str]:
    policies = dict.fromkeys(entry.policy for entry in table.entries)
    return {policy: f"C{number % 10}" for number, policy in enumerate(policies)}


def _plain(text: str) -> str:
    """Text in which matplotlib finds no formula, and no label that it would hide."""
    return text.replace("$", r"\$").lstrip("_")
