"""The command `trl-mle`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trl_mle._version import __version__
from trl_mle.cli import experience, tasks
from trl_mle.cli.doctor import doctor
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
app.command()(doctor)
app.command()(solve)
add_commands(app)


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


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="The `output_dir` of a run, finished or not.")]) -> None:
    """Summary, best programs and picture of a run."""
    import yaml

    from trl_mle.errors import ConfigError
    from trl_mle.evaluation import remembered_validation
    from trl_mle.reports import report_run
    from trl_mle.tasks import load_task
    from trl_mle.yaml_values import compose, construct

    config = run_dir / "config.yaml"
    if not config.exists():
        raise ConfigError(f"No config.yaml in {run_dir}. Give the `output_dir` of a run that has started.")
    try:
        node = compose(config.read_text(encoding="utf-8"), str(config))
        names = None if node is None else construct(node)["mle"]["tasks"]
        names = [names] if isinstance(names, str) else list(names or ())
    except (yaml.YAMLError, OSError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{config} is not the config.yaml of a run: {error}.") from error
    if not names:
        raise ConfigError(f"{config} is not the config.yaml of a run: it names no tasks.")
    loaded = {task.id: task for task in map(load_task, names)}
    validations = {id_: scores for id_, task in loaded.items() if (scores := remembered_validation(task)) is not None}
    report_run(run_dir, loaded, validations)


def main() -> None:
    """Entry point: user errors are one line and exit code 2."""
    with user_errors():
        app()


if __name__ == "__main__":
    main()
