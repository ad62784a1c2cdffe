"""Settings of the sandbox in E2B's cloud."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from trl_mle.config.base import URL, BackendConfig, Keys, check_bytes, check_choice, check_least, check_seconds
from trl_mle.errors import ConfigError


@dataclass(frozen=True)
class E2BConfig(BackendConfig):
    """Parameters that control how programs run in E2B sandboxes. The API key is not a setting: it is read from the environment
    variable `E2B_API_KEY`.

    > Parameters that control the sandboxes

    Args:
        template (`str`, *optional*):
            Name or id of the template. Defaults to E2B's code interpreter. It needs Python 3.11 or newer and the packages
            that tasks allow. Its memory and cores are fixed when it is built.
        max_sandboxes (`int`, *optional*, defaults to `20`):
            E2B sandboxes at the same time, per process. With several processes, divide your account's limit by their number.
        reuse (`bool`, *optional*, defaults to `True`):
            Whether an E2B sandbox runs one program after another. `False` gives each program a sandbox of its own.
        session_s (`float`, *optional*, defaults to `3600.0`):
            Lifetime of an E2B sandbox in seconds, at most what your account allows. The longest program and three more minutes
            must fit.

    > Parameters that control how a program runs

    Args:
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        memory_bytes (`int`, *optional*):
            Limit of resident memory of a program in bytes. Defaults to the task's own.
        isolation (`str`, *optional*, defaults to `"required"`):
            `"required"` refuses to run if programs could forge reports about themselves. `"none"` runs them with a warning.
        user (`str`, *optional*, defaults to `"root"`):
            User that runs the programs' supervisor. Programs themselves have no privileges.
        python (`str`, *optional*, defaults to `"python3"`):
            Interpreter for the programs, inside the sandbox.
        preload (`tuple[str, ...]`):
            Modules that each sandbox imports once, so that programs start without delay.

    > Parameters that control the connection

    Args:
        domain (`str`, *optional*):
            Domain of a self-hosted E2B. Defaults to the SDK's own, `E2B_DOMAIN` or the cloud.
        api_url (`str`, *optional*):
            URL of the API. Defaults to the domain's.
        sandbox_url (`str`, *optional*):
            URL of the proxy to all sandboxes. Defaults to the domain's.
        request_timeout_s (`float`, *optional*, defaults to `60.0`):
            Time limit of one request in seconds, retries included. Transfers have a second more per 256 KiB.
    """

    CONCURRENCY: ClassVar[str] = "max_sandboxes"
    KEYS: ClassVar[Keys] = {
        "template": "e2b_template",
        "max_sandboxes": "e2b_max_sandboxes",
        "reuse": "e2b_reuse",
        "session_s": "e2b_session_s",
        "isolation": "sandbox_isolation",
    }

    template: str | None = None
    max_sandboxes: int = 20
    reuse: bool = True
    session_s: float = 3600.0
    wall_s: float | None = None
    memory_bytes: int | None = None
    isolation: Literal["required", "none"] = "required"
    user: str = "root"
    python: str = "python3"
    preload: tuple[str, ...] = ("numpy", "pandas", "sklearn")
    domain: str | None = None
    api_url: str | None = None
    sandbox_url: str | None = None
    request_timeout_s: float = 60.0

    def __post_init__(self):
        check_least(self, max_sandboxes=1)
        check_choice("isolation", self.isolation, ("required", "none"))
        check_seconds(self, "session_s", "request_timeout_s", "wall_s")
        check_bytes(self, "memory_bytes")
        for name in ("api_url", "sandbox_url"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(URL, value):  # the value may hold a password: not shown
                raise ConfigError(
                    f"`{name}` must be a URL such as 'https://api.e2b.example', without user or password (the key belongs "
                    "in the environment variable `E2B_API_KEY`)."
                )
        for name in ("user", "python"):
            if not getattr(self, name):
                raise ConfigError(f"`{name}` is empty; leave it out for its default.")
