"""History: which experiences count at a position, after any number of rewinds.

A rewind begins a new segment: what is added after it continues what stood before the position it went back to.
"""

from __future__ import annotations

import sqlite3

_MARK = "UPDATE experiences SET superseded = ? WHERE id > ? AND id <= ? AND superseded != ?"


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


def begin_segment(db: sqlite3.Connection, newest: int, position: int) -> None:
    """Go back to `position`: what is added after the id `newest` continues from there, and only what led there counts."""
    ranges = live_ranges(db, position)
    # If nothing was added since an earlier rewind, this one takes its place.
    db.execute("INSERT OR REPLACE INTO segments VALUES (?, ?)", (newest, position))
    after = newest
    for start, end in ranges:
        db.execute(_MARK, (True, end, after, True))
        db.execute(_MARK, (False, start, end, False))
        after = start
    db.execute(_MARK, (True, 0, after, True))
