"""Selection: which earlier program a prompt shows. One strategy per file, and the registry of their names.

A strategy sees the distinct valid programs of one task, and the part of the reward that is their score. It never sees a private
score.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from trl_mle.experience.selection.diverse import diverse
from trl_mle.experience.selection.latest import latest
from trl_mle.experience.selection.learnability import learnability
from trl_mle.experience.selection.pool import Candidate, Pool
from trl_mle.experience.selection.score_weighted import score_weighted
from trl_mle.experience.selection.uniform import uniform

Strategy = Callable[[Pool, random.Random], Candidate]
"""(a pool that is not empty, random numbers) -> the chosen program. Equal pools and random numbers must give equal choices."""

STRATEGIES: Mapping[str, Strategy] = {
    "latest": latest,
    "uniform": uniform,
    "score_weighted": score_weighted,
    "diverse": diverse,
    "learnability": learnability,
}
"""Name -> strategy."""
