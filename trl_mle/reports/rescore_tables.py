"""What has changed after rollouts were scored again, on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from trl_mle.evaluation.rescore import Changes


def show_changes(changes: Changes, console: Console) -> None:
    """Show means before and after, and how many rollouts have changed."""
    table = Table(title=f"{changes.rollouts} rollouts, scored again", title_justify="left")
    table.add_column("")
    for heading in ("before", "after", "changed"):
        table.add_column(heading, justify="right")
    table.add_row(
        "mean reward", _text(changes.reward_before), _text(changes.reward_after), str(changes.reward_changed)
    )
    table.add_row(
        "milestones",
        _text(changes.milestones_before),
        _text(changes.milestones_after),
        str(changes.milestones_changed),
    )
    table.add_row("public score", "", "", str(changes.public_changed))
    table.add_row("private score", "", "", str(changes.private_changed))
    for kinds, count in changes.kinds.items():
        before, _, after = kinds.partition(" -> ")
        if before != after:
            table.add_row("became another kind", before, after, str(count))
    console.print(table)
    if changes.duration_ratio is not None:
        console.print(f"Programs took {changes.duration_ratio:.2f} times as long as before (median).", highlight=False)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
