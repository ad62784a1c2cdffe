"""`trl-mle report`: the report of one run or several, finished or going on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from trl_mle.cli.printable import printable

if TYPE_CHECKING:
    from trl_mle.tasks import Task

HTML_FILE = "report.html"

Runs = Annotated[list[Path], typer.Argument(help="The `output_dir` of each run, finished or not.")]
HtmlPath = Annotated[
    Path | None,
    typer.Option("--html", help="The HTML file to write; by default `report.html` in the folder that holds all runs."),
]
Evaluations = Annotated[
    list[Path] | None,
    typer.Option("--evaluation", help="The `output_dir` of an evaluation to show in the page; may be given again."),
]
TextMegabytes = Annotated[
    float,
    typer.Option(min=0, help="Room in the HTML file for programs and output. The oldest rollouts lose theirs first."),
]


def report(
    run: Runs, html: HtmlPath = None, evaluation: Evaluations = None, text_megabytes: TextMegabytes = 24.0
) -> None:
    """Summary, best programs, picture and HTML page of runs; several runs stand side by side in one page."""
    from trl_mle.errors import ConfigError
    from trl_mle.evaluation import remembered_validation
    from trl_mle.outcomes import Column, read_rollouts
    from trl_mle.reports import report_run
    from trl_mle.reports.html import write_html

    console = Console()
    if len({folder.resolve() for folder in run}) < len(run):
        raise ConfigError("A run is given twice. Name each `output_dir` once.")
    for folder in run:
        if Column.KIND not in read_rollouts(folder):
            console.print(
                f"{folder}: no summary, because these rollouts hold no programs.", soft_wrap=True, markup=False
            )
            continue
        tasks = run_tasks(folder, console)
        found = {id_: scores for id_, task in tasks.items() if (scores := remembered_validation(task)) is not None}
        report_run(folder, tasks, found, console, html=False)
    path = html or default_path(run)
    try:
        with console.status(f"Writing {HTML_FILE} ..."):
            written = write_html(run, path, evaluation_folders=evaluation or (), text_megabytes=text_megabytes)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}. Give a path by `--html`.") from error
    console.print(
        f"  {written} ({written.stat().st_size / 1e6:.1f} MB)", soft_wrap=True, highlight=False, markup=False
    )


def default_path(runs: Sequence[Path]) -> Path:
    """`report.html` in the folder of the run, or in the deepest folder that holds all runs."""
    return Path(os.path.commonpath([folder.resolve() for folder in runs])) / HTML_FILE


def run_tasks(folder: Path, console: Console) -> dict[str, Task]:
    """Id -> task of the run. Tasks that cannot be loaded any more are named and left out.

    The names are those of `config.yaml`; without a readable one, those of the rollouts.
    """
    from trl_mle.errors import TrlMleError
    from trl_mle.evaluation.run_files import read_settings
    from trl_mle.outcomes import Column, read_rollouts
    from trl_mle.tasks import load_task

    settings = read_settings(folder).get("mle")
    names = settings.get("tasks") if isinstance(settings, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not names:
        names = list(read_rollouts(folder)[Column.TASK_ID].dropna().unique())
        console.print(
            f"{folder} has no config.yaml that names its tasks: they are taken from its rollouts.", markup=False
        )
    tasks = {}
    for name in map(str, names):
        try:
            task = load_task(name)
        except TrlMleError as error:
            reason = printable(f"The task {name!r} is left out of the scores: {error}")
            console.print(reason, soft_wrap=True, markup=False)
            continue
        tasks[task.id] = task
    return tasks
