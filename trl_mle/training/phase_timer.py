"""Seconds that the phases of a generation batch take."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(phase: str, metrics: defaultdict[str, list[float]]) -> Iterator[None]:
    """Add the wall-clock seconds of its body to the metric `time/<phase>_s`, unless the body raises."""
    began = time.perf_counter()
    yield
    metrics[f"time/{phase}_s"].append(time.perf_counter() - began)
