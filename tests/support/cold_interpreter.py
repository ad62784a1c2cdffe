"""A program run by an interpreter of its own, to compare with a run in the sandbox."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.local.worker_process import environment
from trl_mle.types import Limits, TaskSpec


@dataclass(frozen=True)
class Result:
    """What a program leaves behind."""

    exit_code: int | None
    stdout: str
    stderr: str
    submission: bytes | None


def cold(code: str, task: TaskSpec, folder: Path) -> Result:
    """Run `code` as `python main.py` in the new folder `folder`, with the sandbox's own variables."""
    folder.mkdir()
    (folder / "input").symlink_to(task.public_dir)
    (folder / "main.py").write_text(code)
    (folder / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=folder,
        env=environment(folder / "tmp"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        # A shell starts jobs in the background with this signal ignored, and programs inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    submission = folder / "submission.csv"
    return Result(
        exit_code=done.returncode,
        stdout=_plain(done.stdout, folder),
        stderr=_plain(done.stderr, folder),
        submission=submission.read_bytes() if submission.exists() else None,
    )


async def run(sandbox: LocalSandbox, code: str, task: TaskSpec) -> Result:
    """Run `code` in `sandbox`."""
    execution = await sandbox.run(code, task, Limits(wall_s=240))
    assert execution.status in ("ok", "error"), execution
    texts = [_without_addresses(text) for text in (execution.stdout, execution.stderr)]
    return Result(execution.exit_code, *texts, execution.submission)


def _plain(output: bytes, folder: Path) -> str:
    # An interpreter names its script with the folder, the sandbox without.
    return _without_addresses(output.decode("utf-8", "replace").replace(f"{folder}{os.sep}", ""))


def _without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)
