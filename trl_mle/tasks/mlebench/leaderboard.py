"""Where a score stands on a leaderboard: medal, median and percentile, by the rules of MLE-bench.

The number of medals depends on the number of teams as at Kaggle (its page on progression; `mlebench/grade_helpers.py`). A score is
rounded to 5 decimals before it is compared, as MLE-bench does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from trl_mle.errors import TaskError
from trl_mle.grading.csv_rows import read_rows
from trl_mle.types import Direction, Grade

DECIMALS = 5
SCORE_COLUMN = "score"
LFS_POINTER = b"version https://git-lfs"
"""First bytes of a file that Git LFS has not fetched."""

Medal = Literal["gold", "silver", "bronze"]


@dataclass(frozen=True)
class Leaderboard:
    """Thresholds of a competition, with the scores of its teams where they are known."""

    direction: Direction
    """Whether a higher or a lower score is better."""
    gold: float
    """Worst score with a gold medal, in the unit of the metric."""
    silver: float
    bronze: float
    median: float
    """A score above the median is strictly better than this one."""
    scores: tuple[float, ...] = ()
    """Scores of all teams from best to worst, or nothing."""

    @classmethod
    def from_scores(cls, scores: Sequence[float]) -> Leaderboard:
        """The leaderboard of `scores`, from best to worst.

        Raises:
            ValueError: there are no scores, or one is not finite.
        """
        if not scores or not all(map(math.isfinite, scores)):
            raise ValueError("a leaderboard needs finite scores")
        gold, silver, bronze = (scores[max(1, place) - 1] for place in _last_places(len(scores)))
        direction: Direction = "minimize" if scores[0] < scores[-1] else "maximize"
        return cls(direction, gold, silver, bronze, median(scores), tuple(scores))

    def grade(self, score: float) -> Grade:
        """A valid grade of the finite `score` with medal, median and percentile."""
        rounded = round(score, DECIMALS)
        medals: dict[Medal, float] = {"gold": self.gold, "silver": self.silver, "bronze": self.bronze}
        medal = next((name for name, least in medals.items() if not self._better(least, rounded)), None)
        worse = sum(self._better(rounded, other) for other in self.scores)
        return Grade(
            score,
            True,
            medal=medal,
            above_median=self._better(rounded, self.median),
            percentile=worse / len(self.scores) if self.scores else None,
        )

    def _better(self, score: float, other: float) -> bool:
        return score < other if self.direction == "minimize" else score > other


def _last_places(teams: int) -> tuple[int, int, int]:
    """The last places with a gold, silver and bronze medal."""
    if teams < 100:
        return int(teams * 0.1), int(teams * 0.2), int(teams * 0.4)
    if teams < 250:
        return 10, int(teams * 0.2), int(teams * 0.4)
    if teams < 1000:
        return 10 + int(teams * 0.002), 50, 100
    return 10 + int(teams * 0.002), int(teams * 0.05), int(teams * 0.1)


def is_pointer(path: Path) -> bool:
    """Whether `path` is a pointer of Git LFS in place of the file itself."""
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def read_leaderboard(path: Path) -> Leaderboard:
    """Read a leaderboard of MLE-bench, a CSV file with a column `score` from best to worst.

    Raises:
        TaskError: the file cannot be read or holds no scores.
    """
    rows = read_rows(path)
    header = next(rows)
    if SCORE_COLUMN not in header:
        raise TaskError(f"{path} has no column {SCORE_COLUMN!r}; restore the file.")
    at = header.index(SCORE_COLUMN)
    try:
        return Leaderboard.from_scores([float(row[at]) for row in rows if row[at].strip()])
    except ValueError as error:
        raise TaskError(f"{path}: {error}; restore the file.") from error
