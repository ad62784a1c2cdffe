"""`trl-mle serve`."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    tasks: Annotated[list[str], typer.Argument(help="Task names and task folders.")],
    port: Annotated[int, typer.Option(help="Port.", min=0, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Address. The server has no passwords.")] = "127.0.0.1",
    runs: Annotated[int, typer.Option(help="Programs per episode.")] = 4,
    sessions: Annotated[int, typer.Option(help="Most episodes at a time.", min=1)] = 64,
    workers: Annotated[int | None, typer.Option(help="Programs at the same time; all cores by default.")] = None,
    isolation: Annotated[str, typer.Option(help="'required', or 'none' if you trust the programs.")] = "required",
) -> None:
    """Serve tasks as OpenEnv environments, for other trainers."""
    from trl_mle.config import EpisodeBudget, SandboxConfig
    from trl_mle.environments import MLESpec
    from trl_mle.exports.openenv_server import openenv_app
    from trl_mle.sandboxes import LocalSandbox

    sandbox = LocalSandbox(SandboxConfig(workers=workers, isolation=isolation))  # type: ignore[arg-type]  # checked there
    app = openenv_app(MLESpec(tasks, budget=EpisodeBudget(runs=runs), sandbox=sandbox), sessions)
    import uvicorn  # comes with openenv

    # It says where it listens, which `--port 0` leaves open.
    uvicorn.run(app, host=host, port=port, access_log=False)
