"""Stored rollouts scored again: after a rule of extraction, instrumentation, grading or reward has changed.

Submissions are not kept in rollouts, so programs run again. Equal completions of a task run once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import trl_mle
from trl_mle.config import RewardConfig
from trl_mle.errors import ConfigError
from trl_mle.evaluation.candidates import Candidate
from trl_mle.evaluation.policy_run import PolicyRun, needs_scoring, together
from trl_mle.evaluation.run import Progress
from trl_mle.evaluation.sample_store import RESCORED, Place, SampleStore
from trl_mle.evaluation.settings import EvaluationSettings
from trl_mle.evaluation.task_digest import task_digest
from trl_mle.language_models.sampling import Sample
from trl_mle.outcomes import Column, RunColumn, from_row
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.rewards.shaping import reward_parts
from trl_mle.tasks import Task
from trl_mle.types import Outcome

if TYPE_CHECKING:
    import pandas as pd

NAME = "rescored"
"""Name of the completions in the store of samples."""
_RULES = ("programs", "instrumentation", "sandboxes", "grading", "rewards", "tasks", "types.py")
"""Parts of this package that decide what an outcome is."""

Outcomes = Mapping[tuple[str, str], Outcome]
"""Task id and text of a completion -> outcome."""


def completion_text(completion: Any) -> str:
    """The text of a rollout's completion: a text, or the content of the last message of the policy."""
    if isinstance(completion, str):
        return completion
    messages = [
        message for message in completion if isinstance(message, Mapping) and message.get("role") == "assistant"
    ]
    return str(messages[-1].get("content") or "") if messages else ""


def scorable_rows(rollouts: pd.DataFrame) -> pd.DataFrame:
    """The rollouts that have an outcome, faults included.

    Raises:
        ConfigError: the rollouts have no outcomes, or are those of agents.
    """
    missing = [name for name in (Column.KIND, Column.TASK_ID, "completion") if name not in rollouts]
    if missing:
        raise ConfigError(f"The rollouts have no column `{missing[0]}`, so that there is nothing to score again.")
    if RunColumn.TURNS in rollouts and rollouts[RunColumn.TURNS].notna().any():
        raise ConfigError(
            "The rollouts are those of agents. A program of an episode builds upon files and answers of earlier ones, so it "
            "cannot be scored again by itself. With `reward_only: true` the rewards are computed again from what was observed."
        )
    return rollouts[rollouts[Column.KIND].notna()]


async def rescore_async(
    rows: pd.DataFrame,
    tasks: Mapping[str, Task],
    scorer: ProgramScorer,
    store: SampleStore,
    *,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[Outcomes, dict[str, str]]:
    """Score every distinct completion again that `store` has no outcome of.

    Args:
        rows (`pandas.DataFrame`):
            From [`scorable_rows`].
        tasks (mapping from task id to [`Task`]):
            Tasks of the rows.
        scorer ([`ProgramScorer`]):
            Scores them; opened and closed here.
        store ([`SampleStore`]):
            Outcomes so far. A killed call is continued by the next one.
        settings (mapping, *optional*):
            What else an outcome depends on. Outcomes of other settings, rules or tasks are not continued.
        progress ([`Progress`], *optional*):
            Shows how far it is.

    Returns:
        The outcomes, and task id -> why it was given up.

    Raises:
        ConfigError: a row is of a task that is not given, or rules, tasks or settings have changed since `store` was begun.
    """
    texts: dict[str, dict[str, None]] = {}
    for task_id, completion in zip(rows[Column.TASK_ID], rows["completion"], strict=True):
        if task_id not in tasks:
            raise ConfigError(
                f"The rollouts have the task {task_id!r}, which is none of {list(tasks)}. Give it by `tasks`."
            )
        texts.setdefault(task_id, {})[completion_text(completion)] = None
    _check_rules(store, tasks, settings or {})
    run = _RescoreRun(texts, Candidate(NAME, NAME, in_process=False), list(tasks.values()), store, scorer)
    if progress is not None:
        run._tick = progress.advance
    async with scorer:
        if progress is None:
            await run.run()
        else:
            with progress:
                progress.begin(NAME, sum(map(len, texts.values())))
                await run.run()
    outcomes = {
        (task_id, record.sample.text): record.outcome
        for task_id in texts
        for record in store.records(Place(NAME, task_id, "scratch"))
        if record.outcome is not None
    }
    return outcomes, run.problems


class _RescoreRun(PolicyRun):
    """A run whose completions are there already."""

    def __init__(
        self,
        texts: Mapping[str, Iterable[str]],
        candidate: Candidate,
        tasks: Sequence[Task],
        store: SampleStore,
        scorer: ProgramScorer,
    ):
        super().__init__(candidate, tasks, store, scorer, EvaluationSettings(), overlap=True)
        self._texts = texts

    async def _task(self, task: Task) -> None:
        place = Place(NAME, task.id, "scratch")
        known = {record.sample.text for record in self.store.records(place)}
        fresh = [text for text in self._texts.get(task.id, ()) if text not in known]
        numbers = range(len(known), len(known) + len(fresh))
        self.store.add(place, numbers, [0] * len(fresh), [Sample(text, None, False, 0.0) for text in fresh], None)
        records = [
            record for record in self.store.records(place) if record.sample.text in self._texts.get(task.id, ())
        ]
        missing = [record for record in records if needs_scoring(record)]
        self._tick(len(records) - len(missing))
        await self._guarded(task, together(self._score(task, record) for record in missing))


def _check_rules(store: SampleStore, tasks: Mapping[str, Task], settings: Mapping[str, Any]) -> None:
    """Note what outcomes depend on; refuse to continue if it has changed."""
    store.claim(RESCORED)
    now = {"rules": rules_digest(), "settings": json.loads(json.dumps(settings, default=str))}
    now["tasks"] = {task_id: task_digest(task) for task_id, task in sorted(tasks.items())}
    before = store.note("rules")
    if before is None:
        store.set_note("rules", now)
    elif changed := [name for name in now if before.get(name) != now[name]]:
        raise ConfigError(
            f"{store.folder} has outcomes of other {' and '.join(changed)}. Give another `output_dir` to score everything again."
        )


def rules_digest() -> str:
    """A digest of the code of this package that decides what an outcome is."""
    root, digest = Path(trl_mle.__file__).parent, hashlib.sha256()
    files = [
        path for name in _RULES for path in ([root / name] if name.endswith(".py") else (root / name).rglob("*.py"))
    ]
    for path in sorted(files):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def with_new_reward(row: Mapping[str, Any], task: Task, config: RewardConfig) -> Outcome:
    """The outcome of a row with the reward that its stored score and milestones have now. Nothing runs."""
    outcome = from_row(row)
    if outcome.kind == "fault":
        return outcome
    milestones = len(outcome.execution.milestones) if outcome.execution is not None else 0
    parts = reward_parts(outcome.kind, milestones, outcome.public, task.direction, task.transform, config)
    return replace(outcome, reward=sum(parts.values()), reward_parts=parts)


@dataclass(frozen=True)
class Changes:
    """What is different after rollouts were scored again."""

    rollouts: int
    """Rollouts that have an outcome before and after."""
    kinds: Mapping[str, int]
    """`before -> after` -> rollouts, of every pair of kinds that occurs."""
    reward_changed: int
    reward_before: float | None
    """Mean reward, faults left out."""
    reward_after: float | None
    milestones_changed: int
    milestones_before: float | None
    """Mean number of milestones."""
    milestones_after: float | None
    public_changed: int
    """Rollouts with another public score, among those that have one before and after."""
    private_changed: int
    duration_ratio: float | None
    """Median of seconds after over seconds before. Programs that are slower now may have become time-outs."""


def changes(before: Sequence[Outcome], after: Sequence[Outcome]) -> Changes:
    """What differs between two outcomes of each rollout."""
    pairs = list(zip(before, after, strict=True))
    rewards = [(a.reward, b.reward) for a, b in pairs if a.reward is not None and b.reward is not None]
    counts = [(_milestones(a), _milestones(b)) for a, b in pairs]
    ratios = [b.duration_s / a.duration_s for a, b in pairs if a.duration_s and b.duration_s is not None]
    return Changes(
        rollouts=len(pairs),
        kinds=dict(Counter(f"{a.kind} -> {b.kind}" for a, b in pairs).most_common()),
        reward_changed=sum(not math.isclose(a, b, rel_tol=1e-9) for a, b in rewards),
        reward_before=_mean([a for a, _ in rewards]),
        reward_after=_mean([b for _, b in rewards]),
        milestones_changed=sum(a != b for a, b in counts),
        milestones_before=_mean([len(a) for a, _ in counts]),
        milestones_after=_mean([len(b) for _, b in counts]),
        public_changed=sum(_differ(a.public, b.public) for a, b in pairs),
        private_changed=sum(_differ(a.private, b.private) for a, b in pairs),
        duration_ratio=median(ratios) if ratios else None,
    )


def _milestones(outcome: Outcome) -> tuple[str, ...]:
    return tuple(map(str, outcome.execution.milestones)) if outcome.execution is not None else ()


def _differ(before: Any, after: Any) -> bool:
    if before is None or after is None or before.score is None or after.score is None:
        return False
    return not math.isclose(before.score, after.score, rel_tol=1e-9)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
