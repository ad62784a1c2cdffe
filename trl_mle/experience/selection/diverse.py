"""`diverse`: first a family of models, then a good program of it. Many programs of one kind do not crowd out the others."""

from __future__ import annotations

import random

from trl_mle.experience.selection.pool import Candidate, Pool, by_rank

FAMILIES = 64
"""Families that are looked at: those whose best programs are best."""
BEST = 32
DRAWN = 16
FAMILY_TEMPERATURE = 1.0
"""The best of many families has exp(1) = 2.7 times the probability of the last one."""


def diverse(pool: Pool, rng: random.Random) -> Candidate:
    """A family by the rank of its best program; in it, a softmax over the ranks of programs with different features.

    The programs are the 32 best ones of the family and 16 draws from it. Of those with the same features, the best one stays.
    """
    family = by_rank(pool.families(FAMILIES), rng, FAMILY_TEMPERATURE)
    members = pool.best_and_drawn(BEST, DRAWN, rng, family)
    best_of: dict[str, Candidate] = {}
    for candidate in members:  # best first
        best_of.setdefault(candidate.features, candidate)
    return by_rank(list(best_of.values()), rng)
