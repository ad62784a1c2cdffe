"""The key `transform` of `task.yaml`: reading, with errors that name file, key, value and fix, and writing."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

from trl_mle.errors import TaskError
from trl_mle.grading import METRICS
from trl_mle.types import Direction, ScoreTransform

KINDS = ("identity", "linear", "log", "percentile")
KEYS = ("kind", "worst", "best", "optimum", "leaderboard")
LEADERBOARD_COLUMN = "score"
"""Column of a leaderboard file."""
MAX_LEADERBOARD = 1_000_000
"""Largest number of scores on a leaderboard."""


def read_transform(
    path: Path, value: Any, direction: Direction, metric: str, *, private: bool = True
) -> ScoreTransform:
    """The transform that `task.yaml` at `path` describes by `value`.

    Args:
        path (`Path`):
            The `task.yaml`. A leaderboard file is looked for in the folder `private` beside it.
        value:
            Value of the key `transform`.
        direction (`str`), metric (`str`):
            Values of these keys. The metric gives `optimum` where it is one of `METRICS`.
        private (`bool`, *optional*, defaults to `True`):
            Whether the folder `private` is there. Without it, a leaderboard file counts as empty.

    Raises:
        TaskError: a key or value is wrong, or the leaderboard cannot be read.
    """
    if not isinstance(value, dict) or "kind" not in value:
        raise TaskError(f"{path}: transform is {value!r}; write for example {{kind: linear, worst: 500, best: 100}}.")
    for key in value:
        if key not in KEYS:
            raise TaskError(f"{path}: transform has the unknown key {key!r}; known keys: {', '.join(KEYS)}.")
    kind = value["kind"]
    if kind not in KINDS:
        raise TaskError(f"{path}: transform.kind is {kind!r}; write one of {', '.join(KINDS)}.")
    optimum = _optimum(path, value, metric)
    if kind in ("identity", "percentile") and (value.get("worst"), value.get("best")) != (None, None):
        raise TaskError(f"{path}: transform.kind {kind!r} takes no worst and best; write 'kind: linear'.")
    if kind != "percentile" and "leaderboard" in value:
        raise TaskError(f"{path}: transform.kind {kind!r} takes no leaderboard; write 'kind: percentile'.")
    if kind == "identity":
        return ScoreTransform(optimum=optimum)
    if kind == "percentile":
        return ScoreTransform(kind, optimum=optimum, leaderboard=_leaderboard(path, value.get("leaderboard"), private))
    worst, best = _ends(path, value, direction)
    return ScoreTransform(kind, worst, best, optimum)


def transform_value(transform: ScoreTransform, metric: str, leaderboard_file: str | None = None) -> dict[str, Any]:
    """The value of the key `transform` from which `read_transform` reads `transform`. A leaderboard may stand in a file."""
    value: dict[str, Any] = {"kind": transform.kind}
    if transform.kind in ("linear", "log"):
        value |= {"worst": transform.worst, "best": transform.best}
    if transform.optimum is not None and metric not in METRICS:
        value["optimum"] = transform.optimum
    if transform.kind == "percentile":
        value["leaderboard"] = leaderboard_file or list(transform.leaderboard)
    return value


def _optimum(path: Path, value: dict[str, Any], metric: str) -> float | None:
    known = METRICS[metric].best if metric in METRICS else None
    if "optimum" not in value:
        return known
    number = value["optimum"]
    if not is_number(number):
        raise TaskError(
            f"{path}: transform.optimum is {number!r}; write the score of a perfect submission as a number."
        )
    if known is not None and number != known:
        raise TaskError(
            f"{path}: transform.optimum is {number!r}, but that of {metric} is {known:g}; leave the key out."
        )
    return float(number)


def _ends(path: Path, value: dict[str, Any], direction: Direction) -> tuple[float, float]:
    kind, worst, best = value["kind"], value.get("worst"), value.get("best")
    for key, number in (("worst", worst), ("best", best)):
        if number is None or not is_number(number):
            raise TaskError(f"{path}: transform.{key} is {number!r}; write the raw score as a finite number.")
        if kind == "log" and number <= 0:
            raise TaskError(f"{path}: transform.{key} is {number!r}; 'log' needs positive scores (or 'linear').")
    worst, best = float(worst), float(best)  # type: ignore[arg-type]
    if worst == best or (best > worst) != (direction == "maximize"):
        raise TaskError(
            f"{path}: transform.worst is {worst!r} and transform.best {best!r}, but the direction is "
            f"{direction!r}; exchange them or choose two different scores."
        )
    if kind == "log" and (min(worst, best) < 1e-300 or math.log(worst) == math.log(best)):
        raise TaskError(
            f"{path}: transform.worst is {worst!r} and transform.best {best!r}, of which 'log' has no use; write 'kind: linear'."
        )
    if not math.isfinite(best - worst):
        raise TaskError(f"{path}: transform.worst is {worst!r} and transform.best {best!r}, too far from each other.")
    return worst, best


def _leaderboard(path: Path, value: Any, private: bool) -> tuple[float, ...]:
    """Scores of a list, or of the column `score` of a CSV file in `private/`."""
    place, scores = f"{path}: transform.leaderboard", value
    if isinstance(value, str):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
            raise TaskError(f"{place} is {value!r}; write the name of a file in {path.parent / 'private'}, or a list.")
        if not private:
            return ()
        file = path.parent / "private" / value
        place, scores = str(file), _scores_of(file)
    if not isinstance(scores, list) or not scores:
        raise TaskError(f"{place} is {value!r}; write a list of scores, or the name of a CSV file in `private/`.")
    if len(scores) > MAX_LEADERBOARD:
        raise TaskError(f"{place} has more than {MAX_LEADERBOARD} scores; take a sample of them.")
    for score in scores:
        if not is_number(score):
            raise TaskError(f"{place} has the score {score!r}; write finite numbers.")
    return tuple(map(float, scores))


def _scores_of(file: Path) -> list[Any]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            if LEADERBOARD_COLUMN not in (rows.fieldnames or ()):
                raise TaskError(f"{file} has no column {LEADERBOARD_COLUMN!r}; add it, with one score per row.")
            scores = []
            for row in rows:
                scores.append(_number(row[LEADERBOARD_COLUMN]))
                if len(scores) > MAX_LEADERBOARD:
                    break
            return scores
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaskError(
            f"the leaderboard {file} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error


def _number(text: Any) -> Any:
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def is_number(value: Any) -> bool:
    """Whether `value` is a number that a float holds; `True` and `False` are none."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False
