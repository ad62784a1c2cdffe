"""`trl-mle tasks`: list, show, prepare, validate and create tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("list")
def list_() -> None:
    """List the built-in tasks; nothing is prepared."""
    from trl_mle.tasks import list_tasks

    table = Table("task", "title")
    for id_, title in list_tasks().items():
        table.add_row(id_, escape(title))
    Console().print(table)


@app.command()
def show(
    task: Annotated[str, typer.Argument(help="Task name, such as builtin:digits, or a task folder.")],
    prompt: Annotated[bool, typer.Option("--prompt", help="Show the prompt, too.")] = False,
) -> None:
    """Show metric, limits and files of a task, and with `--prompt` the messages that a policy gets."""
    from trl_mle.prompts import build_prompt
    from trl_mle.tasks import load_task

    loaded = load_task(task)
    console = Console()
    transform = loaded.transform
    reward = "the score itself" if transform.kind == "identity" else f"{transform.kind}: {transform.worst:g} is -1, "
    if transform.kind != "identity":
        reward += f"{transform.best:g} is 1"
    table = Table("", loaded.id, show_header=True)
    for name, value in (
        ("title", loaded.title),
        ("description", loaded.description),
        ("metric", f"{loaded.metric} ({loaded.direction})"),
        ("target", loaded.target_column),
        ("predictions", _shorten(loaded.prediction_columns)),
        ("reward", reward),
        ("limits", f"{loaded.time_limit_s:g} s, {loaded.memory_bytes / 1024**3:g} GiB, {loaded.threads} thread(s)"),
        ("packages", ", ".join(loaded.packages)),
        ("reference", "yes" if loaded.reference else "no"),
        ("baseline", "yes" if loaded.baseline else "no"),
        ("folder", str(loaded.folder)),
    ):
        table.add_row(name, escape(value))
    console.print(table)
    if prompt:
        for message in build_prompt(loaded):
            console.rule(message["role"])
            console.print(message["content"], markup=False, highlight=False, soft_wrap=True)


@app.command()
def prepare(
    tasks: Annotated[list[str] | None, typer.Argument(help="Task names; all built-in tasks by default.")] = None,
) -> None:
    """Prepare built-in tasks in the cache, for example before a cluster goes offline."""
    from trl_mle.tasks import list_tasks, load_task

    table = Table("task", "folder")
    for name in tasks or list(list_tasks()):
        loaded = load_task(name)
        table.add_row(loaded.id, escape(str(loaded.folder)))
    Console().print(table)


@app.command()
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
    from trl_mle.tasks import list_tasks, load_task

    loaded = [load_task(name) for name in tasks or list_tasks()]
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
                for name in ("baseline", "reference"):
                    if (score := getattr(validation, name)) is not None:
                        values = (f"{score.public:.4g}", f"{score.private:.4g}", f"{score.wall_s:.2f}")
                        table.add_row(task.id, name, task.metric, *values)
                    else:
                        table.add_row(task.id, f"no {name}.py", task.metric, "-", "-", "-")

    asyncio.run(run_all())
    Console().print(table)
    if problems:
        raise TaskError("\n".join(problems))


@app.command()
def create(
    csv: Annotated[str, typer.Option(help="Table with a header: CSV (also compressed), Excel, Parquet or Feather.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    metric: Annotated[str, typer.Option(help="For example accuracy, roc_auc, log_loss, rmse.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the new task; the CSV's name by default.")] = None,
    title: Annotated[str | None, typer.Option(help="One line.")] = None,
    description: Annotated[Path | None, typer.Option(help="Text file that describes the prediction.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out; may be given again.")] = None,
    test_fraction: Annotated[float, typer.Option(help="Share of rows whose target is hidden.")] = 0.3,
    public_fraction: Annotated[float, typer.Option(help="Share of the hidden rows whose score is the reward.")] = 0.5,
    time_limit_s: Annotated[float, typer.Option(help="Wall-clock limit of a program, in seconds.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of the shuffle and the splits.")] = 0,
    sep: Annotated[
        str | None,
        typer.Option(help="Separator: a character, or comma, semicolon, tab, pipe, space. Found by default."),
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Such as cp1252 or utf-16; UTF-8 by default.")] = None,
    decimal: Annotated[
        str | None, typer.Option(help="Decimal mark, '.' or ','. Found in the numbers by default.")
    ] = None,
    drop_missing_targets: Annotated[
        bool, typer.Option("--drop-missing-targets", help="Leave out rows without a target.")
    ] = False,
    keep_missing_words: Annotated[
        bool, typer.Option("--keep-missing-words", help="Words such as None and NA in the target are classes.")
    ] = False,
) -> None:
    """Make a task folder from a table."""
    from trl_mle.errors import TaskError
    from trl_mle.tasks import create_task

    try:
        text = description.expanduser().read_text(encoding="utf-8-sig").strip() if description else None
    except (OSError, UnicodeDecodeError, RuntimeError) as error:  # of an unknown home folder
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise TaskError(f"{description} (`--description`) cannot be read: {reason}.") from error
    task = create_task(
        csv,
        target,
        metric,
        out or Path(Path(csv).stem),
        title=title,
        description=text,
        drop=drop or (),
        test_fraction=test_fraction,
        public_fraction=public_fraction,
        time_limit_s=time_limit_s,
        seed=seed,
        sep=sep,
        encoding=encoding,
        decimal=decimal,
        drop_missing_targets=drop_missing_targets,
        keep_missing_words=keep_missing_words,
    )
    Console().print(
        f"{task.folder} is a task of {task.metric} ({task.direction}). Its path is its task name.", markup=False
    )


def _shorten(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
