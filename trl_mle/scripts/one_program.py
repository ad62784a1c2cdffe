"""One program of a file, scored as in training: for `trl-mle tasks run` and `trl-mle tasks preview --parent`."""

from __future__ import annotations

from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks import Task
from trl_mle.types import Outcome, Program

LONGEST_PROGRAM = 4 * 1024**2
"""Largest program file that is read, in bytes."""


def read_program(path: Path) -> Program:
    """The program in the file `path`.

    Raises:
        TaskError: the file cannot be read as text, or is not a regular file.
    """
    path = path.expanduser()
    try:
        if not path.is_file():
            raise TaskError(f"{path} is not a file; give the file of a Python program.")
        if path.stat().st_size > LONGEST_PROGRAM:
            raise TaskError(f"{path} has more than {LONGEST_PROGRAM} bytes; give a Python program.")
        return Program("", path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise TaskError(f"{path} cannot be read ({reason}); give the file of a Python program.") from error


def score_program(program: Program, task: Task, isolation: str = "required", wall_s: float | None = None) -> Outcome:
    """Instrument, run and grade `program` with the instrumenter, the sandbox and the reward that training has by default.

    Args:
        isolation (`str`, *optional*, defaults to `"required"`):
            `SandboxConfig.isolation`.
        wall_s (`float`, *optional*):
            Wall-clock limit in seconds. Defaults to the task's.

    Raises:
        SandboxUnavailableError: programs cannot be isolated on this machine.
        ConfigError: an option has a value that cannot work.
    """
    import asyncio

    from trl_mle.config import PoolConfig, SandboxConfig
    from trl_mle.rewards import ProgramScorer
    from trl_mle.sandboxes import LocalSandbox, SandboxPool

    async def score() -> Outcome:
        sandbox = LocalSandbox(SandboxConfig(workers=1, isolation=isolation))  # type: ignore[arg-type]  # checked there
        async with ProgramScorer(SandboxPool(sandbox, PoolConfig(progress="off")), wall_s=wall_s) as scorer:
            return await scorer.score(program, task)

    return asyncio.run(score())
