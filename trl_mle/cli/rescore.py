"""`trl-mle rescore`."""

from __future__ import annotations

import typer

from trl_mle.cli.train import PASS_ON

HELP = (
    "Score the stored rollouts of a run again, after a rule or a metric has changed, into a new table beside the old one. "
    "RUN [--output_dir FOLDER] [--reward_only true] [--key value ...]"
)


def add_command(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("rescore", context_settings=PASS_ON, help=HELP)(rescore)


def rescore(context: typer.Context) -> None:
    """Run the script: everything after the command belongs to it."""
    from trl_mle.scripts.rescore import main

    raise typer.Exit(main(context.args))
