"""Two processes as `torchrun` would start them, without its imports."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def launch(*arguments: str, timeout_s: float = 240.0, **environment: str) -> list[tuple[int, str, float]]:
    """Run `python -m ARGUMENTS` in two processes. Returns exit status, output and seconds of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    began, processes = time.monotonic(), []
    for rank in range(2):
        variables = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            **environment,
        }
        command = [sys.executable, "-m", *map(str, arguments)]
        processes.append(
            subprocess.Popen(
                command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    try:
        results = []
        for process in processes:
            output, _ = process.communicate(timeout=max(began + timeout_s - time.monotonic(), 0.1))
            results.append((process.returncode, output, time.monotonic() - began))
        return results
    finally:
        for process in processes:
            process.kill()


def launch_well(*arguments: str, timeout_s: float = 240.0, **environment: str) -> list[str]:
    """`launch`, and both processes end well. Returns the output of each."""
    results = launch(*arguments, timeout_s=timeout_s, **environment)
    assert [status for status, _, _ in results] == [0, 0], "\n".join(output[-1500:] for _, output, _ in results)
    return [output for _, output, _ in results]
