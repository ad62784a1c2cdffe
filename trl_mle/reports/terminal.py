"""Report of a run: the summary on the terminal, `summary.json`, the best programs and the picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trl_mle.errors import UserError
from trl_mle.evaluation.reward_columns import reward_columns
from trl_mle.evaluation.summary import Best, RunSummary, Stretch, summarise, write_best
from trl_mle.evaluation.validate import Validation
from trl_mle.outcomes import read_rollouts
from trl_mle.prompts.quoting import clean_output
from trl_mle.reports.html import write_html
from trl_mle.reports.plot import plot_run
from trl_mle.reports.turns import turn_table
from trl_mle.rewards.score_transform import transform_score
from trl_mle.tasks import Task
from trl_mle.whole_files import write_whole

_OWN_SCORE = "validation_score"
"""Metric of a program's own validation, one of `trl_mle.types.PROGRAM_METRICS`."""
_SCORE_WIDTH = 10
"""Characters of a score such as -1.235e+07."""


def report_run(
    run_dir: Path,
    tasks: Mapping[str, Task],
    validations: Mapping[str, Validation] | None = None,
    console: Console | None = None,
    *,
    html: bool = True,
) -> RunSummary:
    """Read the run in `run_dir`, write `best/`, `summary.json`, `report.png` and `report.html`, and show the summary.

    Args:
        run_dir (`Path`):
            The `output_dir` of a run.
        tasks (mapping from task id to [`Task`]):
            The run's tasks.
        validations (mapping from task id to [`Validation`], *optional*):
            Scores of the tasks' own programs to compare with.
        console (`rich.console.Console`, *optional*):
            Where to show the summary. The tables fit 80 columns.
        html (`bool`, *optional*, defaults to `True`):
            Whether to write `report.html`.

    Raises:
        ConfigError: the run has no rollouts, or they are of another reward function, or a file cannot be written.
    """
    validations = validations or {}
    console = console or Console()
    rollouts = read_rollouts(run_dir)
    columns = reward_columns(run_dir, rollouts)
    summary = summarise(rollouts, tasks, columns)
    programs = write_best(run_dir, summary.best)
    written = asdict(summary)
    for best in written["best"].values():
        del best["program"]  # which is in `best/<task>/program.py`
    written["own_programs"] = {task_id: asdict(validation) for task_id, validation in validations.items()}
    write_whole(run_dir / "summary.json", json.dumps(written, indent=2) + "\n")

    stretches = Table(
        title=f"{summary.rollouts} rollouts, {summary.faults} infrastructure faults"
        + (f", {summary.lost} lost to overlap" if summary.lost else ""),
        title_justify="left",
    )
    for heading in ("", "batches", "valid share", "mean reward", "mean duration"):
        stretches.add_column(heading, justify="right" if heading else "left")
    for name, part in (("first fifth", summary.first), ("last fifth", summary.last)):
        stretches.add_row(name, str(part.batches), *_as_text(part))
    console.print(stretches)
    if summary.first.turns is not None and summary.last.turns is not None:
        console.print(turn_table({"first fifth": summary.first.turns, "last fifth": summary.last.turns}))
    if summary.improvement is not None:
        console.print(summary.improvement.sentence(), highlight=False)
    if len(columns) > 1:
        console.print(_reward_table(summary))
    console.print(_score_table(summary, tasks, validations))
    for scores in summary.public_and_private.values():
        if scores.overfits:
            console.print(scores.sentence(), style="bold yellow", markup=False, highlight=False)
    files = [run_dir, *programs, run_dir / "summary.json", run_dir / "rollouts"]
    try:
        plot_run(rollouts, run_dir / "report.png", ", ".join(tasks), _levels(tasks, validations), columns)
        files.insert(-2, run_dir / "report.png")
    except UserError as error:  # matplotlib is optional, and the rest of the report needs no picture
        console.print(f"No picture: {error}", markup=False)
    if html:
        files.insert(-2, write_html([run_dir], run_dir / "report.html"))
    console.print("Files:", style="bold")
    for path in files:
        console.print(f"  {path}", soft_wrap=True, highlight=False)
    return summary


def _as_text(part: Stretch) -> tuple[str, str, str]:
    """Valid share, mean reward and mean duration as text, with `-` for a value that is missing."""
    return (
        "-" if part.valid_share is None else f"{part.valid_share:.0%}",
        "-" if part.reward is None else f"{part.reward:.2f}",
        "-" if part.duration_s is None else f"{part.duration_s:.2f} s",
    )


def _reward_table(summary: RunSummary) -> Table:
    """One row per reward function."""
    rewards = Table(title="Mean of each reward function", title_justify="left")
    rewards.add_column("reward function", overflow="fold")
    for heading in ("first fifth", "last fifth"):
        rewards.add_column(heading, justify="right", min_width=_SCORE_WIDTH)
    for name, first, last in _reward_means(summary):
        rewards.add_row(Text(name), first, last)
    return rewards


def _reward_means(summary: RunSummary) -> list[tuple[str, str, str]]:
    """Name of each reward function and its means in the first and in the last fifth, as text."""

    def as_text(mean: float | None) -> str:
        return "-" if mean is None else f"{mean:.4g}"

    first, last = summary.first.reward_means, summary.last.reward_means
    return [(name, as_text(mean), as_text(last.get(name))) for name, mean in first.items()]


def _score_table(summary: RunSummary, tasks: Mapping[str, Task], validations: Mapping[str, Validation]) -> Table:
    """One row per task. Long ids and metrics are folded, and numbers never are."""
    scores = Table(title="Private score, best program chosen by public score", title_justify="left")
    scores.add_column("task", overflow="fold")
    for heading in ("baseline", "best of\nthe run", "reference"):
        scores.add_column(heading, justify="right", min_width=_SCORE_WIDTH)
    has_own_scores = any(_OWN_SCORE in best.metrics for best in summary.best.values())
    if has_own_scores:
        scores.add_column("its own\nvalidation", justify="right", min_width=_SCORE_WIDTH)
    for task_id, task in tasks.items():
        validation, best = validations.get(task_id), summary.best.get(task_id)
        better = "higher" if task.direction == "maximize" else "lower"
        scores.add_row(
            Text(clean_output(f"{task_id}\n{task.metric} ({better} is better)")),
            f"{validation.baseline.private:.4g}" if validation and validation.baseline else "-",
            f"{best.private_score:.4g}" if best and best.private_score is not None else "none valid",
            f"{validation.reference.private:.4g}" if validation and validation.reference else "-",
            *([_own_score(best)] if has_own_scores else []),
        )
    return scores


def _own_score(best: Best | None) -> str:
    score = best.metrics.get(_OWN_SCORE) if best is not None else None
    return "-" if score is None else f"{score:.4g}"


def _levels(tasks: Mapping[str, Task], validations: Mapping[str, Validation]) -> dict[str, float]:
    """Rewards of the task's own programs, for the picture."""
    if len(tasks) != 1:  # several tasks share the panel, and their levels have no common place
        return {}
    (task,) = tasks.values()
    validation = validations.get(task.id)
    programs = validation.programs if validation else {}
    return {name: transform_score(score.public, task.direction, task.transform) for name, score in programs.items()}


def scores_section(summary: RunSummary, validations: Mapping[str, Validation]) -> str:
    """Markdown for the model card: the run's first and last fifth, each reward function if there are several, and the scores of
    the best programs."""
    lines = [
        "| | valid share | mean reward | mean duration |",
        "|---|---|---|---|",
        f"| first fifth of the run | {' | '.join(_as_text(summary.first))} |",
        f"| last fifth of the run | {' | '.join(_as_text(summary.last))} |",
        "",
    ]
    rewards = _reward_means(summary)
    if len(rewards) > 1:
        lines += ["| reward function | mean, first fifth | mean, last fifth |", "|---|---|---|"]
        lines += [f"| `{name}` | {first} | {last} |" for name, first, last in rewards]
        lines.append("")
    for task_id, best in summary.best.items():
        validation = validations.get(task_id)
        comparison = ""
        if validation and validation.baseline and validation.reference:
            comparison = f" (baseline {validation.baseline.private:.4g}, reference {validation.reference.private:.4g})"
        private = "unknown" if best.private_score is None else f"{best.private_score:.4g}"
        lines.append(
            f"- `{task_id}`: private score {private}{comparison}; chosen by public score {best.public_score:.4g}."
        )
    lines += [f"- {scores.sentence(code=True)}" for scores in summary.public_and_private.values() if scores.overfits]
    return "\n".join(lines)
