"""`learnability`: programs that the policy improves about half of the time, where a group of completions differs most.

A group in which all or none improve has no variance and teaches nothing. The variance of success is `p (1 - p)` (as in
"Learning to reason at the frontier of learnability", arXiv 2502.12272, for tasks in place of parents).
"""

from __future__ import annotations

import random

from trl_mle.experience.selection.pool import Candidate, Pool, weighted

PROGRESSING = 24
"""Programs whose children were better most recently."""
BEST = 24
DRAWN = 16
PRIOR = 4.0
"""Children that the prior counts as. Its rate is that of the whole task, so an untried program stands with the usual ones."""


def learnability(pool: Pool, rng: random.Random) -> Candidate:
    """One of 24 programs with recent progress, the 24 best and 16 draws, with probability in proportion to `p (1 - p)`.

    `p` is the share of its children that are better than it, the recent ones counting more (`PARENT_MEMORY`), with a Beta prior
    of 4 children at the task's own share.
    """
    found = {candidate.id: candidate for candidate in pool.progressing(PROGRESSING)}
    found.update((candidate.id, candidate) for candidate in pool.best_and_drawn(BEST, DRAWN, rng))
    candidates = sorted(found.values(), key=lambda candidate: candidate.number)
    usual = (pool.recent_better + 1.0) / (pool.recent_children + 2.0)
    weights = []
    for candidate in candidates:
        rate = (candidate.recent_better + PRIOR * usual) / (candidate.recent_children + PRIOR)
        weights.append(rate * (1.0 - rate))
    return weighted(candidates, weights, rng)
