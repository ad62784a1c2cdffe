"""`trl-mle tasks validate`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from trl_mle.cli.printable import printable


def validate(
    tasks: Annotated[list[str] | None, typer.Argument(help="Task names; all built-in tasks by default.")] = None,
    isolation: Annotated[str, typer.Option(help="'required', or 'none' if you trust the programs.")] = "required",
) -> None:
    """Run each task's baseline and reference solution in the sandbox; the reference must beat the baseline."""
    import asyncio

    from trl_mle.config import SandboxConfig
    from trl_mle.errors import TaskError
    from trl_mle.evaluation import validate_task
    from trl_mle.sandboxes import LocalSandbox
    from trl_mle.tasks import load_task
    from trl_mle.tasks.builtin import builtin_titles

    loaded = [load_task(name) for name in tasks or builtin_titles()]
    table = Table(Column("task", no_wrap=True), "program", "metric", "public", "private", "seconds")
    problems: list[str] = []

    async def run_all() -> None:
        config = SandboxConfig(workers=1, isolation=isolation)  # type: ignore[arg-type]  # checked by SandboxConfig
        async with LocalSandbox(config) as sandbox:
            for task in track(loaded, description="validating", console=Console(stderr=True)):
                try:
                    validation = await validate_task(task, sandbox)
                except TaskError as error:
                    problems.append(str(error))
                    continue
                if validation.baseline is None and validation.reference is None:
                    problems.append(
                        f"Task {task.id}: nothing to validate, {task.folder} has no baseline.py and no reference.py. Write one "
                        "or both: programs that read input/ and write submission.csv."
                    )
                metric = escape(printable(task.metric))
                for name in ("baseline", "reference"):
                    if (score := getattr(validation, name)) is not None:
                        values = (f"{score.public:.4g}", f"{score.private:.4g}", f"{score.wall_s:.2f}")
                        table.add_row(task.id, name, metric, *values)
                    else:
                        table.add_row(task.id, f"no {name}.py", metric, "-", "-", "-")

    asyncio.run(run_all())
    Console().print(table)
    if problems:
        raise TaskError("\n".join(problems))
