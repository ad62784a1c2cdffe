"""`trl-mle tasks create`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


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
