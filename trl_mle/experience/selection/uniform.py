"""`uniform`: every distinct valid program with the same probability, however good it is."""

from __future__ import annotations

import random

from trl_mle.experience.selection.pool import Candidate, Pool


def uniform(pool: Pool, rng: random.Random) -> Candidate:
    """Any program."""
    return pool.drawn(1, rng)[0]
