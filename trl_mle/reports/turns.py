"""The turns of an agent, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from trl_mle.evaluation.agent_turns import AgentTurns

HEADINGS = (
    "programs per\nrollout",
    "first one\nvalid",
    "failures\nrepaired",
    "valid ones\nimproved",
    "submitted",
)


def turn_table(stretches: Mapping[str, AgentTurns]) -> Table:
    """One row per stretch of the run. It fits 80 columns."""
    table = Table(title="Turns of the agent", title_justify="left")
    table.add_column("")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name, turns in stretches.items():
        shares = (turns.first_valid_share, turns.repaired_share, turns.improved_share, turns.submitted_share)
        table.add_row(name, f"{turns.programs:.1f}", *("-" if share is None else f"{share:.0%}" for share in shares))
    return table
