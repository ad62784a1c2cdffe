"""What every sandbox offers."""

from __future__ import annotations

from typing import Protocol

from trl_mle.types import Execution, Limits, TaskSpec


class Sandbox(Protocol):
    """Runs programs. Use as `async with sandbox: await sandbox.run(...)`; programs of one batch run concurrently."""

    async def __aenter__(self) -> Sandbox: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def run(
        self, code: str, task: TaskSpec, limits: Limits | None = None, *, source: str | None = None
    ) -> Execution:
        """Run `code` with the task's public files under `./input/` and return what happened.

        Args:
            code (`str`):
                A Python program. It writes `submission.csv` into its working directory.
            task (`TaskSpec`):
                Whose public files the program sees.
            limits (`Limits`, *optional*):
                Defaults to `Limits.for_task(task)`.
            source (`str`, *optional*):
                The program before statements were added to it, where `code` is an instrumented one: what it finds as
                its own file, and what the lines of tracebacks refer to. Defaults to `code`.

        Raises:
            SandboxError: the sandbox failed; nothing is known about the program.
        """
        ...
