"""`trl-mle push`: the policy and the rollouts of a run on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Run = Annotated[Path, typer.Argument(help="The `output_dir` of a run.")]
Repo = Annotated[str, typer.Argument(help="Name on the Hub: user/name. It is created if it does not exist.")]
Public = Annotated[bool, typer.Option("--public", help="Make a new repository public. By default it is private.")]


@app.command()
def model(
    run: Run,
    repo: Repo,
    public: Public = False,
    license: Annotated[str | None, typer.Option(help="Licence of the model: that of its base model.")] = None,
    base_model: Annotated[str | None, typer.Option(help="Name of the base model on the Hub.")] = None,
) -> None:
    """Upload the policy, whole or as an adapter, with its card. Rollouts and settings stay here."""
    from trl_mle.exports.hub import push_model

    typer.echo(push_model(run, repo, private=not public, license=license, base_model=base_model))


@app.command()
def rollouts(
    run: Run,
    repo: Repo,
    public: Public = False,
    private_scores: Annotated[bool, typer.Option(help="Upload scores on the private answers, too.")] = False,
    license: Annotated[str, typer.Option(help="Licence of the data set.")] = "other",
) -> None:
    """Upload the rollouts as a data set with its card. `read_rollouts("hub:user/name")` reads them back."""
    from trl_mle.exports.hub import push_rollouts

    typer.echo(push_rollouts(run, repo, private=not public, private_scores=private_scores, license=license))
