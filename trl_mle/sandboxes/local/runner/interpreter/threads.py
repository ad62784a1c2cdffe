"""Threads of the numerical libraries."""

from __future__ import annotations

import sys

THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS", "LOKY_MAX_CPU_COUNT", "ARROW_NUM_THREADS"),
)
"""Environment variables that the libraries read when they are loaded."""


def raise_threads(threads: int) -> None:
    """Let the libraries that are loaded use `threads` threads: they read `THREAD_VARIABLES` when one thread was right."""
    threadpoolctl = sys.modules.get("threadpoolctl")
    if threadpoolctl is not None:
        threadpoolctl.threadpool_limits(threads)
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None:
        pyarrow.set_cpu_count(threads)
