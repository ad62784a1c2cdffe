"""`score_weighted`: good programs more often than poor ones, by rank, so that the scale of the rewards does not matter."""

from __future__ import annotations

import random

from trl_mle.experience.selection.pool import Candidate, Pool, by_rank

BEST = 32
"""Best programs that are looked at."""
DRAWN = 32
"""Further programs, drawn from all. They keep the choice from standing still at the same best ones."""


def score_weighted(pool: Pool, rng: random.Random) -> Candidate:
    """A softmax over the ranks of the 32 best programs and of 32 draws from all; over all ranks, if there are 64 or fewer."""
    return by_rank(pool.best_and_drawn(BEST, DRAWN, rng), rng)
