"""`trl-mle experience`: show, export and import the experience of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trl_mle.cli.printable import printable

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

StorePath = Annotated[Path, typer.Argument(help="A store, or the folder of a run that has one.")]
TaskIds = Annotated[
    list[str] | None, typer.Option("--task", help="Task id to take; may be given again. All by default.")
]


def store_path(path: Path) -> Path:
    """The store of a run's folder, or the path itself."""
    from trl_mle.experience import STORE_FILE

    return path / STORE_FILE if path.is_dir() else path


@app.command()
def show(store: StorePath) -> None:
    """Show what a store holds of each task: outcomes, valid ones, best public score, lineages."""
    from trl_mle.experience import ExperienceStore

    table = Table("task", "outcomes", "valid", "distinct", "best public score", "depth", "children", "better")
    with ExperienceStore(store_path(store), read_only=True) as opened:
        for task in opened.tasks():
            best = opened.best(task.task_id)
            score = best[0].outcome.public.score if best and best[0].outcome.public else None
            better = f"{task.children_better / task.children:.0%}" if task.children else "-"
            values = (
                task.experiences,
                task.valid,
                task.candidates,
                "-" if score is None else f"{score:.4g}",
                task.depth,
            )
            table.add_row(escape(printable(task.task_id)), *map(str, values), str(task.children), better)
    Console().print(table)


@app.command()
def export(store: StorePath, out: Annotated[Path, typer.Argument(help="The Parquet file to write.")]) -> None:
    """Write everything that counts in a store to a Parquet file."""
    from trl_mle.experience import ExperienceStore

    with ExperienceStore(store_path(store), read_only=True) as opened:
        rows = opened.export(out)
    Console().print(f"Outcomes written to {out}: {rows}.", markup=False, soft_wrap=True)


@app.command("import")
def import_(
    store: Annotated[Path, typer.Argument(help="The store to add to; made if it does not exist.")],
    source: Annotated[Path, typer.Argument(help="A store, a Parquet file of `export`, or the folder of a run.")],
    task: TaskIds = None,
) -> None:
    """Add the experience of another run to a store."""
    from trl_mle.experience import ExperienceStore

    with ExperienceStore(store_path(store)) as opened:
        count = opened.import_from(source, tasks=task)
    Console().print(f"Outcomes added from {source} to {store_path(store)}: {count}.", markup=False, soft_wrap=True)
