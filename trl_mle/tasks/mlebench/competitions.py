"""`Competition`: what a task needs to know of a competition, from `known.yaml` or from the package `mlebench`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from trl_mle.errors import TaskError
from trl_mle.tasks.mlebench.data_dir import PreparedData
from trl_mle.tasks.mlebench.leaderboard import Leaderboard
from trl_mle.tasks.mlebench.package import competition_dir, package_dir, package_leaderboard, read_config
from trl_mle.types import Direction, ScoreTransform

_HERE = Path(__file__).parent
DESCRIPTION_CHARS = 2000
"""Most characters of a description from the package, which are written for people and have up to 30,000."""
TIME_LIMIT_S = 600.0
"""Wall-clock limit of a program, in seconds, for a competition that `known.yaml` lacks."""
MEMORY_BYTES = 8 * 1024**3
"""Memory limit of a program, in bytes, for a competition that `known.yaml` lacks."""


@dataclass(frozen=True)
class Competition:
    """A competition of MLE-bench, without its data."""

    id: str
    title: str
    description: str
    metric: str
    metric_text: str
    """Name of the metric for the prompt."""
    direction: Direction
    answers: str
    """Path of the answers, relative to `prepared/private`."""
    sample: str
    """Path of the sample submission, relative to `prepared`."""
    leaderboard: Leaderboard
    id_column: str | None = None
    """`None`: found from the data."""
    target_columns: tuple[str, ...] = ()
    """Empty: found from the data."""
    train: str | None = None
    """Path of the training table, relative to `prepared/public`. `None`: `train.csv` if there is one."""
    test: str | None = None
    own_grader: str | None = None
    """Name of the grader in `own_graders.GRADERS` that equals the package's. `None`: the package is needed."""
    dropped_fields: tuple[str, ...] = ()
    """Fields of the training and the test table that give answers away."""
    transform: ScoreTransform | None = None
    """`None`: the percentile of the leaderboard."""
    time_limit_s: float = TIME_LIMIT_S
    memory_bytes: int = MEMORY_BYTES


def find_competition(name: str) -> Competition:
    """The competition `name`.

    Raises:
        TaskError: it is neither in `known.yaml` nor in an installed `mlebench`, or its leaderboard is missing.
    """
    if name in known():
        return _known(name, known()[name])
    if competition_dir(name) is not None:
        return _from_package(name)
    why = (
        "the installed mlebench has no such competition" if package_dir() else "the package mlebench is not installed"
    )
    raise TaskError(
        f"unknown task 'mlebench:{name}': {why}, and only {', '.join(known())} work without it. "
        f"Check the name, or install mlebench from a clone of github.com/openai/mle-bench."
    )


@lru_cache(maxsize=1)
def known() -> dict[str, dict[str, Any]]:
    """Content of `known.yaml`: the settings of each competition by its name."""
    return yaml.safe_load((_HERE / "known.yaml").read_text(encoding="utf-8"))


def _known(name: str, data: dict[str, Any]) -> Competition:
    data = dict(data)
    thresholds = data.pop("thresholds")
    for key in ("target_columns", "dropped_fields"):
        data[key] = tuple(data.get(key, ()))
    data["transform"] = ScoreTransform(**data["transform"])
    data["sample"] = f"public/{data['sample']}"
    return Competition(
        id=name,
        description=(_HERE / "descriptions" / f"{name}.md").read_text(encoding="utf-8"),
        leaderboard=package_leaderboard(name) or Leaderboard(data["direction"], *thresholds),
        **{"memory_bytes": 2 * 1024**3, **data},
    )


def _from_package(name: str) -> Competition:
    config = read_config(name)
    folder = competition_dir(name)
    assert folder is not None
    leaderboard = package_leaderboard(name)
    if leaderboard is None:
        raise TaskError(
            f"'mlebench:{name}': {folder / 'leaderboard.csv'} is missing or a pointer of Git LFS, so it is not known "
            f"whether higher scores are better. Run `git lfs pull` in the clone of MLE-bench."
        )
    prepared = f"{name}/prepared/"
    paths = {key: str(config["dataset"][key]) for key in ("answers", "sample_submission")}
    for key, path in paths.items():
        if not path.startswith(prepared) or ".." in Path(path).parts:
            raise TaskError(f"{folder / 'config.yaml'}: dataset.{key} is {path!r}; it must be inside {prepared}.")
    answers = paths["answers"].removeprefix(prepared)
    if not answers.startswith("private/"):
        raise TaskError(f"{folder / 'config.yaml'}: dataset.answers is {paths['answers']!r}, not in private/.")
    try:
        description = (folder / "description.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{folder / 'description.md'} cannot be read: {error}") from error
    return Competition(
        id=name,
        title=config["name"],
        description=shorten(description),
        metric=config["grader"]["name"],
        metric_text=config["grader"]["name"],
        direction=leaderboard.direction,
        answers=answers.removeprefix("private/"),
        sample=paths["sample_submission"].removeprefix(prepared),
        leaderboard=leaderboard,
    )


def shorten(text: str, limit: int = DESCRIPTION_CHARS) -> str:
    """The first paragraphs of a Markdown text, at most `limit` characters, without images and repeated headings."""
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip() and not part.lstrip().startswith("![")]
    headings = Counter(part.lstrip("# ") for part in paragraphs if part.startswith("#"))
    paragraphs = [part for part in paragraphs if not (part.startswith("#") and headings[part.lstrip("# ")] > 1)]
    kept, size = [], 0
    for part in paragraphs:
        size += len(part) + 2
        if size > limit:
            break
        kept.append(part)
    return "\n\n".join(kept) or text.strip()[:limit]


def sample_path(competition: Competition, data: PreparedData) -> Path:
    """Path of the sample submission in the prepared data. Some competitions keep it in `private`, and a packed one in `public`."""
    top, _, rest = competition.sample.partition("/")
    return (data.public if top == "public" else data.private) / rest
