"""Tasks as an OpenEnv server: `openenv_app`, or `trl-mle serve TASK...`. Needs the extra `openenv`."""

from trl_mle.exports.openenv_server.app import openenv_app

__all__ = ["openenv_app"]
