"""History: which experiences count at a position, after any number of rewinds.

A rewind begins a new segment: what is added after it continues what stood before the position it went back to.
"""

from __future__ import annotations

import sqlite3


def live_ranges(db: sqlite3.Connection, position: int) -> list[tuple[int, int]]:
    """The ranges `(start, end]` of ids that count at `position`, the newest first."""
    ranges = []
    while position > 0:
        segment = db.execute(
            "SELECT start, base FROM segments WHERE start < ? ORDER BY start DESC LIMIT 1", (position,)
        ).fetchone()
        start, base = segment or (0, 0)
        ranges.append((start, position))
        position = base
    return ranges
