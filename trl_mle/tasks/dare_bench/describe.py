"""`description.md` of a task of DARE-bench, in our words; of the source's text only the descriptions of columns are used."""

from __future__ import annotations

from trl_mle.tasks.dare_bench.clone import DareDataset

HEADING = "=== Columns & descriptions ==="
"""Line of `metadata.txt` after which each line describes a column."""
MAX_COLUMNS = 40
MAX_LINE = 100
"""Longest description of a column, in characters."""


def description_of(dataset: DareDataset, given_away: int) -> str:
    """The text of `description.md`."""
    targets = _listed(dataset.targets)
    if dataset.kind == "time_series_analysis":
        lines = [
            f"Forecast {targets} over the time column `{dataset.time_column}`. The rows to predict lie mostly after the "
            f"training rows, need not be contiguous, and have no other columns than those of test.csv.",
        ]
    else:
        what = "the class" if dataset.kind == "classification" else "the number"
        lines = [f"Predict {what} {targets} of each row."]
    if len(dataset.targets) > 1:
        lines.append("The score is the mean of the scores of the targets.")
    if given_away:
        lines.append(f"{given_away} training rows that would give answers away were left out.")
    if columns := _columns(dataset):
        lines += ["", "Columns:", *columns]
    lines += ["", f"Data: {dataset.url or dataset.name}, licence: {dataset.license_text}."]
    return "\n".join(lines)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _columns(dataset: DareDataset) -> list[str]:
    text = dataset.metadata.read_text(encoding="utf-8-sig", errors="replace")
    lines = [" ".join(line.split()) for line in text.partition(HEADING)[2].splitlines()]
    described = [line for line in lines if ": " in line[1:] and not line.endswith("[no description]")]
    cut = [line if len(line) <= MAX_LINE else line[: MAX_LINE - 3] + "..." for line in described]
    return [f"- {line}" for line in cut[:MAX_COLUMNS]]
