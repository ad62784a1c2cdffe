"""`openenv_app`: the server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from trl_mle.environments import MLESpec
from trl_mle.errors import missing_extra

if TYPE_CHECKING:
    from fastapi import FastAPI


def openenv_app(spec: MLESpec, sessions: int = 64) -> FastAPI:
    """An OpenEnv server for the tasks of `spec`. The sandbox is closed when the server ends.

    The answers stay on this machine. What an agent reads is the same as in training with [`MLESpec`].

    Args:
        spec ([`MLESpec`]):
            Tasks, budget and sandbox.
        sessions (`int`, *optional*, defaults to `64`):
            Most episodes at a time. Programs beyond the workers of the sandbox wait.

    Raises:
        UserError: `openenv` is not installed.

    Example:

    ```python
    uvicorn.run(openenv_app(MLESpec(["builtin:digits"])), port=8000)
    ```
    """
    try:
        from openenv.core import create_app
    except ImportError as error:
        raise missing_extra("openenv", "openenv") from error
    from trl_mle.exports.openenv_server.environment import MLEServerEnvironment
    from trl_mle.exports.openenv_server.messages import MLEAction, MLEObservation

    app = create_app(
        lambda: MLEServerEnvironment(spec),
        MLEAction,
        MLEObservation,
        env_name="trl_mle",
        max_concurrent_envs=sessions,
    )
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncIterator[object]:
        async with inner(running) as state:
            try:
                yield state
            finally:
                await spec.aclose()

    app.router.lifespan_context = lifespan
    return app
