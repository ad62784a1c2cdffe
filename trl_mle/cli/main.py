"""The command `trl-mle`."""

from __future__ import annotations

from typing import Annotated

import typer

from trl_mle._version import __version__
from trl_mle.cli import experience, push, tasks
from trl_mle.cli.doctor import doctor
from trl_mle.cli.evaluate import add_command as add_evaluate
from trl_mle.cli.report import report
from trl_mle.cli.rescore import add_command as add_rescore
from trl_mle.cli.serve import serve
from trl_mle.cli.solve import solve
from trl_mle.cli.train import add_commands
from trl_mle.scripts.user_errors import user_errors

app = typer.Typer(
    help="Reinforcement learning for machine-learning-engineering agents. Start with `trl-mle quickstart`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(tasks.app, name="tasks", help="List, show, prepare, validate and create tasks.")
app.add_typer(experience.app, name="experience", help="Show, export and import the experience of a run.")
app.add_typer(push.app, name="push", help="Upload the policy or the rollouts of a run to the Hugging Face Hub.")
app.command()(doctor)
app.command()(solve)
app.command()(report)
app.command()(serve)
add_commands(app)
add_evaluate(app)
add_rescore(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trl_mle {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of `trl-mle` itself."""


def main() -> None:
    """Entry point: user errors are one line and exit code 2."""
    with user_errors():
        app()


if __name__ == "__main__":
    main()
