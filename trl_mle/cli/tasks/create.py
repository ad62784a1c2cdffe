"""`trl-mle tasks create`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from trl_mle.cli.tasks.create_dialog import settle


def create(
    source: Annotated[
        str | None, typer.Argument(help="Table with a header, Kaggle folder with train.csv, or folder of images.")
    ] = None,
    csv: Annotated[str | None, typer.Option(help="The same as the argument.")] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Column to predict; may be given again. Proposed by default.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="For example accuracy, roc_auc, log_loss, rmse. Proposed by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the new task; the table's name by default.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take what is proposed without asking.")] = False,
    title: Annotated[str | None, typer.Option(help="One line.")] = None,
    description: Annotated[Path | None, typer.Option(help="Text file that describes the prediction.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out; may be given again.")] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Feature to keep although it looks like an id or gives the target away.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Name of the column of new row ids; id by default.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="random (default), group:COLUMN or time:COLUMN.")] = None,
    rare: Annotated[str | None, typer.Option(help="Rare classes: keep, drop or merge.")] = None,
    rare_rows: Annotated[int, typer.Option(help="Classes with fewer rows are rare.")] = 10,
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
    """Make a task folder from a table, a Kaggle folder or a folder of images.

    What is not given is proposed. On a terminal, the proposal is shown and confirmed. Elsewhere, `--yes` confirms it. What the
    data leave open is asked on a terminal, and an error elsewhere.
    """
    from trl_mle.errors import TaskError
    from trl_mle.tasks import create_task

    if (source is None) == (csv is None):
        raise TaskError("give the table once, as `trl-mle tasks create data.csv` or with `--csv data.csv`.")
    options: dict[str, Any] = {
        "target": tuple(target or ()),
        "metric": metric,
        "drop": tuple(drop or ()),
        "keep": tuple(keep or ()),
        "id_column": id_column,
        "split": split,
        "rare": rare,
        "rare_rows": rare_rows,
        "decimal": decimal,
        "drop_missing_targets": True if drop_missing_targets else None,
        "keep_missing_words": keep_missing_words,
        "sep": sep,
        "encoding": encoding,
    }
    path = str(source or csv)
    text = _text_of(description)
    console = Console()
    options = settle(path, options, yes, console)
    task = create_task(
        path,
        out=out,
        title=title,
        description=text,
        test_fraction=test_fraction,
        public_fraction=public_fraction,
        time_limit_s=time_limit_s,
        seed=seed,
        **options,
    )
    console.print(
        f"{task.folder} is a task of {task.metric} ({task.direction}). Its path is its task name.", markup=False
    )


def _text_of(description: Path | None) -> str | None:
    from trl_mle.errors import TaskError

    try:
        return description.expanduser().read_text(encoding="utf-8-sig").strip() if description else None
    except (OSError, UnicodeDecodeError, RuntimeError) as error:  # of an unknown home folder
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise TaskError(f"{description} (`--description`) cannot be read: {reason}.") from error
