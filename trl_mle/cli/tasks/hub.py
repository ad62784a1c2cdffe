"""`trl-mle tasks push` and `pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trl_mle.cli.printable import printable


def push(
    tasks: Annotated[list[str], typer.Argument(help="Task names or task folders.")],
    repo: Annotated[str, typer.Option(help="Data set of the Hub, `user/name`.")],
    private: Annotated[bool, typer.Option("--private/--public", help="Visibility of a new data set.")] = True,
    without_answers: Annotated[
        bool, typer.Option("--without-answers", help="Leave the answers out. Pulled tasks then cannot grade.")
    ] = False,
    publish_answers: Annotated[
        bool, typer.Option("--publish-answers", help="Allow answers in a public data set.")
    ] = False,
    license: Annotated[str, typer.Option(help="Licence of the data, an identifier of the Hub.")] = "other",
) -> None:
    """Upload tasks, answers included, as a private data set of the Hub."""
    from trl_mle.tasks import load_task
    from trl_mle.tasks.hub import push_tasks

    console = Console()
    if not without_answers:
        console.print("The answers (private/) are uploaded, too; --without-answers leaves them out.", style="bold")
    address = push_tasks(
        [load_task(task) for task in tasks],
        repo,
        private=private,
        answers=not without_answers,
        publish_answers=publish_answers,
        license=license,
    )
    console.print(f"{len(tasks)} tasks: {address}", markup=False, soft_wrap=True)


def pull(
    repo: Annotated[str, typer.Argument(help="Data set of the Hub, `user/name`.")],
    out: Annotated[Path, typer.Option(help="Folder of the new task folders.")] = Path("tasks"),
    task: Annotated[list[str] | None, typer.Option(help="Id of a task; may be given again. All by default.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    max_gib: Annotated[float, typer.Option(help="Largest size of all files, in GiB.")] = 20.0,
    trust_code: Annotated[
        bool, typer.Option("--trust-code", help="Accept graders that are programs of the data set.")
    ] = False,
) -> None:
    """Download tasks of a data set of the Hub. Exit code 1 if one was refused."""
    from trl_mle.errors import TaskError
    from trl_mle.tasks.hub import pull_tasks

    if not 0 < max_gib < 2**30:
        raise TaskError(f"max_gib is {max_gib:g} (`--max-gib`); write a positive number of GiB.")
    pulled = pull_tasks(
        repo, out, task or (), revision=revision, max_bytes=int(max_gib * 1024**3), trust_code=trust_code
    )
    table = Table("task", "folder", "note")
    for each in pulled:
        table.add_row(each.id, escape(str(each.folder or "refused")), escape(printable(each.note)))
    Console().print(table)
    if any(each.folder is None for each in pulled):
        raise typer.Exit(1)
