"""An evaluation on the terminal: a table per task, means over tasks, paired differences, and what went wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trl_mle.evaluation.entries import Entry
from trl_mle.evaluation.intervals import Estimate
from trl_mle.evaluation.table import Difference, EvaluationTable, Overall
from trl_mle.prompts.quoting import clean_output

MIDDLE = 8
"""Size `k` that tables show beside 1 and `n`."""
REASONS = 3
"""Most reasons of failure that are shown per policy."""


def show_evaluation(table: EvaluationTable, console: Console | None = None) -> None:
    """Show an evaluation. Intervals are of 95 %."""
    console = console or Console()
    for _, entries in groupby(table.entries, key=lambda entry: entry.task_id):
        console.print(_task_table(list(entries)))
    sampled = [entry for entry in table.entries if entry.kind != "both" and entry.n]
    if sampled:
        console.print(_effort_table(sampled))
    if len({entry.task_id for entry in table.entries}) > 1 and table.overall:
        console.print(_overall_table(table.overall))
    if table.differences:
        console.print(_difference_table(table.differences))
    reasons = [entry for entry in table.entries if entry.reasons and entry.kind != "both"]
    if reasons:
        console.print(_reasons_table(reasons))
    for name, problem in table.problems.items():
        console.print(Text(clean_output(f"{name}: {problem}."), style="bold"), soft_wrap=True)


def _task_table(entries: Sequence[Entry]) -> Table:
    """One row per policy and kind of prompt; it fits 80 columns."""
    first = entries[0]
    better = "higher" if first.direction == "maximize" else "lower"
    title = f"{first.task_id}: {first.metric}, {better} is better" + (", held out" if first.held_out else "")
    table = _table(Text(clean_output(title)), "policy")
    medals = any(entry.best is not None and entry.best.percentile is not None for entry in entries)
    headings = ["valid share", f"pass@{MIDDLE}", f"private,\nbest of {MIDDLE}", "private,\nbest of n"]
    for heading in [*headings, *(["medal"] if medals else [])]:
        table.add_column(heading, justify="right")
    for entry in entries:
        passes = entry.pass_at.get(MIDDLE)
        table.add_row(
            _name(entry, entries),
            _valid(entry),
            "-" if passes is None else f"{passes.value:.0%}",
            _number(entry.best_at.get(MIDDLE)),
            _best(entry),
            *([_medal(entry)] if medals else []),
        )
    return table


def _effort_table(entries: Sequence[Entry]) -> Table:
    """What it took: samples until the first valid one, seconds, tokens and cost."""
    table = _table("What it took", "policy")
    table.add_column("task", overflow="fold")
    costs = any(entry.cost is not None for entry in entries)
    headings = ["first\nvalid", "program\nseconds", "tokens", *(["cost"] if costs else [])]
    for heading in headings:
        table.add_column(heading, justify="right")
    for entry in entries:
        table.add_row(
            _name(entry, entries),
            Text(entry.task_id),
            _first_valid(entry),
            "-" if entry.run_seconds is None else f"{entry.run_seconds:.2f}",
            "-" if entry.tokens is None else f"{entry.tokens:.0f}",
            *(["-" if entry.cost is None else f"{entry.cost:.4g}"] if costs else []),
        )
    return table


def _name(entry: Entry, entries: Sequence[Entry]) -> Text:
    """The policy, and the kind of its prompts if there are several."""
    name = Text(entry.policy)
    if entry.kind != "program" and len({other.kind for other in entries} - {"program"}) > 1:
        name.append(f"\n{entry.kind}", style="dim")
    return name


def _overall_table(rows: Sequence[Overall]) -> Table:
    """One row per policy, kind of prompt and group of tasks."""
    table = _table(
        "Means over tasks (score on the scale of the reward, from -1 to 1; -1 where nothing is valid)", "policy"
    )
    table.add_column("kind")
    table.add_column("tasks")
    sizes = sorted(set.intersection(*(set(row.best_score) for row in rows)))
    shown = [k for k in sizes if k in (MIDDLE, sizes[-1]) and k > 1]
    medals = any(row.medal_share for row in rows)
    headings = [
        "valid share",
        "score",
        *(f"score\nbest of {k}" for k in shown),
        *(["medals\nbest of n"] if medals else []),
    ]
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        last = max(row.medal_share) if row.medal_share else None
        table.add_row(
            Text(row.policy),
            row.kind,
            f"{row.tasks} {row.group}" if row.group != "all" else str(row.tasks),
            _percent(row.valid_share),
            _number(row.score),
            *(f"{row.best_score[k]:.3f}" for k in shown),
            *(["-" if last is None else f"{row.medal_share[last]:.0%}"] if medals else []),
        )
    return table


def _difference_table(differences: Sequence[Difference]) -> Table:
    """One row per policy and task; over all tasks first."""
    table = _table(Text(f"Minus {differences[0].minus}, paired by task and sample number"), "policy")
    table.add_column("task", overflow="fold")
    for heading in ("pairs", "valid share", "score"):
        table.add_column(heading, justify="right")
    for difference in differences:
        name = Text(difference.policy)
        if len({other.kind for other in differences}) > 1:
            name.append(f" ({difference.kind})", style="dim")
        table.add_row(
            name,
            Text(difference.task_id or "all tasks"),
            str(difference.pairs),
            _percent(difference.valid_share, signed=True),
            Text(_number(difference.score, signed=True), style="bold" if difference.is_clear else ""),
        )
    return table


def _reasons_table(entries: Sequence[Entry]) -> Table:
    table = _table("Why samples are not valid", "policy")
    table.add_column("task", overflow="fold")
    table.add_column("reasons")
    for entry in entries:
        reasons = list(entry.reasons.items())
        text = ", ".join(f"{reason} {count}" for reason, count in reasons[:REASONS])
        if rest := sum(count for _, count in reasons[REASONS:]):
            text += f", other {rest}"
        if entry.truncated:
            text += f"; {entry.truncated} completions were cut off"
        table.add_row(_name(entry, entries), Text(entry.task_id), Text(clean_output(text)))
    return table


def _table(title: str | Text, heading: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(heading, overflow="fold")
    return table


def _valid(entry: Entry) -> str:
    if not entry.n:
        return f"no sample ({entry.faults} faults)" if entry.faults else "no sample"
    if entry.kind == "program":
        return "valid" if entry.valid else "not valid"
    faults = f", {entry.faults} faults" if entry.faults else ""
    return f"{_percent(entry.valid_share)}\n{entry.valid} of {entry.n}{faults}"


def _best(entry: Entry) -> str:
    if entry.best is None:
        return "none valid" if entry.n else "-"
    return "not graded" if entry.best.private_score is None else f"{entry.best.private_score:.4g}"


def _medal(entry: Entry) -> str:
    if entry.best is None or entry.best.percentile is None:
        return "-"
    return f"{entry.best.medal or 'none'}\nbetter than {entry.best.percentile:.0%}"


def _first_valid(entry: Entry) -> str:
    if entry.programs_to_valid is not None:
        return f"program {entry.programs_to_valid:.1f}"
    if entry.samples_to_valid is None:
        return f"> {entry.n}" if entry.n else "-"
    return f"sample {entry.samples_to_valid:.1f}"


def _percent(estimate: Estimate | None, signed: bool = False) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "-"
    sign = "+" if signed else ""
    text = f"{100 * estimate.value:{sign}.0f}%"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{100 * estimate.low:{sign}.0f}, {100 * estimate.high:{sign}.0f}]"


def _number(estimate: Estimate | None, signed: bool = False) -> str:
    if estimate is None:
        return "-"
    sign = "+" if signed else ""
    text = f"{estimate.value:{sign}.4g}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text}\n[{estimate.low:{sign}.3g}, {estimate.high:{sign}.3g}]"
