"""`trl-mle evaluate`."""

from __future__ import annotations

import typer

from trl_mle.cli.train import PASS_ON

HELP = (
    "Evaluate policies, checkpoints and endpoints on tasks: n samples each, best of n by public and told by private score. "
    "--policies POLICY ... --tasks TASK ... [-n N] [--output_dir FOLDER], or --show FOLDER"
)


def add_command(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("evaluate", context_settings=PASS_ON, help=HELP)(evaluate)


def evaluate(context: typer.Context) -> None:
    """Run the script: everything after the command belongs to it."""
    from trl_mle.scripts.evaluate import main

    raise typer.Exit(main(context.args))
