"""`latest`: the valid program that was found last, as in a chain of edits. It follows the policy, and forgets what was better."""

from __future__ import annotations

import random

from trl_mle.experience.selection.pool import Candidate, Pool


def latest(pool: Pool, rng: random.Random) -> Candidate:
    """The newest program. A copy of an earlier program is not new."""
    return pool.newest()
