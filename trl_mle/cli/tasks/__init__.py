"""`trl-mle tasks`: one file per command or group of commands. A new command is a file and one line here."""

from __future__ import annotations

import typer

from trl_mle.cli.tasks.create import create
from trl_mle.cli.tasks.export import export
from trl_mle.cli.tasks.generate import generate
from trl_mle.cli.tasks.grade import grade
from trl_mle.cli.tasks.hub import pull, push
from trl_mle.cli.tasks.preview import preview
from trl_mle.cli.tasks.run import run
from trl_mle.cli.tasks.show import list_, prepare, show
from trl_mle.cli.tasks.validate import validate

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command("list")(list_)
app.command()(show)
app.command()(prepare)
app.command()(validate)
app.command()(create)
app.command()(preview)
app.command()(grade)
app.command()(run)
app.command()(push)
app.command()(pull)
app.command()(export)
app.command()(generate)
