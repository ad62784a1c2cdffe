"""`AttemptLog`: every attempt of a search on disk, so that a search that was killed goes on where it was."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trl_mle.comparison import score_of
from trl_mle.errors import ConfigError
from trl_mle.experience import Experience, ExperienceStore
from trl_mle.types import Outcome, PromptKind

logger = logging.getLogger(__name__)

STORE = "attempts.sqlite"
FACTS = "attempts.jsonl"


@dataclass(frozen=True)
class Facts:
    """What is known of an attempt besides its outcome."""

    id: int
    """Id of the outcome in the store."""
    second: float
    """Seconds of search, those of earlier sessions included, at which it was scored."""
    model: str
    tokens: int | None = None
    """Completion tokens."""
    truncated: bool = False
    """Whether the completion was cut off."""
    accepted: bool = False
    """Whether it became the best attempt. With a real test file, its program was valid there, too."""
    mean: float | None = None
    """Mean over all splits of the score on the scale of the reward; `None` if there is one split, or it was not needed."""
    refused: str | None = None
    """Why a program with the best score was not taken: what went wrong on the real test file, or on a further division."""


@dataclass(frozen=True)
class Attempt:
    """One completion of the policy, and what came of it."""

    experience: Experience
    facts: Facts | None
    """`None` if the search was killed between the two writes."""

    @property
    def id(self) -> int:
        """Number of the attempt, from 1."""
        return self.experience.id

    @property
    def outcome(self) -> Outcome:
        """As `outcomes.stored` leaves it."""
        return self.experience.outcome

    @property
    def rank(self) -> float | None:
        """What the best attempt is chosen by: the mean over all splits, or `score` if there is one split."""
        return self.score if self.facts is None or self.facts.mean is None else self.facts.mean

    @property
    def score(self) -> float | None:
        """Public score on the scale of the reward; `None` unless the submission is valid."""
        return score_of(self.outcome)


class AttemptLog:
    """The attempts in the folder `out`: outcomes in an [`ExperienceStore`], facts in a file with a line per attempt.

    Raises:
        StoreError: the store cannot be opened.
        ConfigError: the file of facts cannot be written.
    """

    def __init__(self, out: Path):
        self.store = ExperienceStore(out / STORE)
        self._facts: dict[int, Facts] = {}
        path = out / FACTS
        try:
            if path.exists():
                self._facts = {facts.id: facts for facts in _read(path)}
            self._file = path.open("ab", buffering=0)
            if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
                self._file.write(b"\n")  # a line that a kill has cut ends here
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror}); choose another folder with `--out`."
            ) from error

    def add(self, outcome: Outcome, kind: PromptKind, parent: int | None) -> int:
        """Store an outcome, and return its id."""
        return self.store.add(outcome, prompt_kind=kind, parent=parent)

    def note(self, facts: Facts) -> None:
        """Store the facts of an attempt. Later ones with the same id replace them."""
        self._facts[facts.id] = facts
        if facts.accepted:
            self.store.sync()  # the outcome before the line that names it
        self._file.write(json.dumps(asdict(facts)).encode() + b"\n")
        if facts.accepted:
            os.fsync(self._file.fileno())

    def facts(self, id_: int) -> Facts | None:
        """The facts of an attempt."""
        return self._facts.get(id_)

    @property
    def seconds(self) -> float:
        """Seconds of search until the newest attempt."""
        return max((facts.second for facts in self._facts.values()), default=0.0)

    def best(self) -> Attempt | None:
        """The accepted attempt with the highest score; of equal ones the first."""
        accepted = [self.get(facts.id) for facts in self._facts.values() if facts.accepted]
        ranked = [(attempt.rank, -attempt.id, attempt) for attempt in accepted if attempt.rank is not None]
        return max(ranked)[2] if ranked else None

    def get(self, id_: int) -> Attempt:
        """The attempt with this id."""
        return Attempt(self.store.get(id_), self._facts.get(id_))

    def __iter__(self) -> Iterator[Attempt]:
        for experience in self.store:
            yield Attempt(experience, self._facts.get(experience.id))

    def __len__(self) -> int:
        return len(self.store)

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self.store.close()


def _read(path: Path) -> Iterator[Facts]:
    """Lines that can be read. A kill may have cut one."""
    for line in path.read_bytes().splitlines():
        try:
            content: Any = json.loads(line)
            yield Facts(**content)
        except (ValueError, TypeError):
            logger.warning("A line of %s cannot be read and is left out.", path)
