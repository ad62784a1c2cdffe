"""`EvaluationTable`: every policy on every task, means over tasks, and paired differences, made of a store of samples."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from trl_mle.evaluation.entries import Entry, TaskNote, entry_of
from trl_mle.evaluation.intervals import Estimate, mean_over_strata
from trl_mle.evaluation.sample_store import EVALUATION, Place, SampleStore, opened
from trl_mle.types import ScoreTransform

TABLE_FILE = "evaluation.json"
SAMPLES_FILE = "samples.parquet"
SCHEMA_VERSION = 1
"""Version of `evaluation.json`. It rises when a field changes its meaning."""


@dataclass(frozen=True)
class Overall:
    """Means of one policy over tasks, each task with equal weight."""

    policy: str
    kind: str
    group: str
    """`all`, `trained` or `held-out` tasks."""
    tasks: int
    valid_share: Estimate
    score: Estimate
    """Mean private score of a sample on the scale of the reward, -1 where it is not valid."""
    best_score: Mapping[int, float]
    """`k` -> the same of the best of `k` by public score, for sizes that every task has."""
    medal_share: Mapping[int, float]
    """`k` -> share of tasks with a medal for the best of `k`, over the tasks with a leaderboard."""


@dataclass(frozen=True)
class Difference:
    """A policy minus another one, over the samples of equal number and task that both have."""

    policy: str
    minus: str
    kind: str
    task_id: str | None
    """`None`: the mean over all common tasks."""
    pairs: int
    valid_share: Estimate
    score: Estimate
    """Of the private score on the scale of the reward, -1 where a sample is not valid."""

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the score excludes 0."""
        low, high = self.score.low, self.score.high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True)
class EvaluationTable:
    """The result of an evaluation."""

    entries: tuple[Entry, ...]
    overall: tuple[Overall, ...] = ()
    differences: tuple[Difference, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    """`policy on task` -> why it has no samples, or fewer than asked for."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def entry(self, policy: str, task_id: str, kind: str = "scratch") -> Entry:
        """One entry; raises `KeyError` if there is none."""
        for entry in self.entries:
            if (entry.policy, entry.task_id, entry.kind) == (policy, task_id, kind):
                return entry
        raise KeyError((policy, task_id, kind))

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: numbers that are not finite are `None`."""
        content = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        for entry in content["entries"]:
            del entry["scores"], entry["public"]  # which are in the table of samples
        return _plain(content)

    def write(self, folder: Path) -> Path:
        """Write `evaluation.json` into `folder`, whole or not at all. Returns its path."""
        path = folder / TABLE_FILE
        part = path.with_suffix(".json.part")
        part.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        part.replace(path)
        return path


def read_table(source: SampleStore | Path) -> EvaluationTable:
    """The table of the samples that a store, or the folder of an evaluation, holds: also of one that is still going.

    Raises:
        ConfigError: the folder has no evaluation.
    """
    with opened(source) as store:
        store.claim(EVALUATION)
        tasks = {note["id"]: _task_note(note) for note in store.note("tasks") or ()}
        policies = store.policies()
        places = sorted(
            store.places(), key=lambda place: (list(tasks).index(place.task_id), policies.index(place.policy))
        )
        entries: list[Entry] = []
        for (task_id, _policy), group in groupby(places, key=lambda place: (place.task_id, place.policy)):
            entries += _entries_of(list(group), tasks[task_id], store)
        return EvaluationTable(
            entries=tuple(entries),
            overall=tuple(_overall(entries)),
            differences=tuple(_differences(entries, store.note("compare_to"))),
            problems=_problems(entries, store.note("problems") or {}),
            settings=store.note("settings") or {},
        )


def write_samples(source: SampleStore | Path, folder: Path) -> Path:
    """Write every sample with its outcome to `samples.parquet` in `folder`. Returns its path."""
    import pandas as pd

    with opened(source) as store:
        frame = pd.DataFrame([{name: _storable(value) for name, value in row.items()} for row in store.rows()])
    path = folder / SAMPLES_FILE
    part = path.with_suffix(".parquet.part")
    frame.to_parquet(part, index=False)
    part.replace(path)
    return path


def _storable(value: Any) -> Any:
    """Text without lone surrogates, which UTF-8 has no bytes for."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _entries_of(places: Sequence[Place], task: TaskNote, store: SampleStore) -> list[Entry]:
    records = {place.kind: store.records(place) for place in places}
    entries = [entry_of(found, task) for found in records.values()]
    if "improve" in records and "scratch" in records:
        entries.append(entry_of([*records["scratch"], *records["improve"]], task, "both"))
    return entries


def _overall(entries: Sequence[Entry]) -> list[Overall]:
    """Means over tasks; of trained and held-out ones apart if both are there."""
    rows = []
    sampled = [entry for entry in entries if entry.n and entry.kind not in ("both", "program")]
    for policy, kind in dict.fromkeys((entry.policy, entry.kind) for entry in sampled):
        own = [entry for entry in sampled if (entry.policy, entry.kind) == (policy, kind)]
        groups = {"all": own}
        if any(entry.held_out for entry in own):
            groups |= {
                "trained": [entry for entry in own if entry.held_out is False],
                "held-out": [entry for entry in own if entry.held_out],
            }
        rows += [_overall_of(policy, kind, name, group) for name, group in groups.items() if group]
    return rows


def _overall_of(policy: str, kind: str, group: str, entries: Sequence[Entry]) -> Overall:
    valid = mean_over_strata([_validity(entry, list(entry.scores)) for entry in entries])
    score = mean_over_strata([np.array(list(entry.scores.values())) for entry in entries])
    assert valid is not None and score is not None
    sizes = set.intersection(*(set(entry.score_at) for entry in entries))
    ranked = [entry for entry in entries if entry.medal_at]
    ranked_sizes = set.intersection(*(set(entry.medal_at) for entry in ranked)) if ranked else set()
    return Overall(
        policy,
        kind,
        group,
        len(entries),
        valid,
        score,
        {k: float(np.mean([entry.score_at[k].value for entry in entries])) for k in sorted(sizes)},
        {k: float(np.mean([entry.medal_at[k].value for entry in ranked])) for k in sorted(ranked_sizes)},
    )


def _validity(entry: Entry, numbers: Sequence[int]) -> np.ndarray:
    return np.array([float(number in entry.public) for number in numbers])


def _differences(entries: Sequence[Entry], minus: str | None) -> list[Difference]:
    """Every other policy minus the one that is compared to, per task and over all tasks."""
    rows = []
    sampled = {
        (entry.policy, entry.kind, entry.task_id): entry for entry in entries if entry.kind not in ("both", "program")
    }
    for policy, kind in dict.fromkeys((policy, kind) for policy, kind, _ in sampled if policy != minus):
        differences: list[tuple[str, np.ndarray, np.ndarray]] = []
        for (other, other_kind, task_id), entry in sampled.items():
            base = sampled.get((minus or "", kind, task_id))
            if (other, other_kind) != (policy, kind) or base is None:
                continue
            numbers = sorted(set(entry.scores) & set(base.scores))
            if numbers:
                scores = np.array([entry.scores[number] - base.scores[number] for number in numbers])
                differences.append((task_id, _validity(entry, numbers) - _validity(base, numbers), scores))
        if not differences:
            continue
        assert minus is not None
        if len(differences) > 1:
            rows.append(_difference(policy, minus, kind, None, *zip(*(item[1:] for item in differences), strict=True)))
        rows += [
            _difference(policy, minus, kind, task_id, [valid], [scores]) for task_id, valid, scores in differences
        ]
    return rows


def _difference(
    policy: str, minus: str, kind: str, task_id: str | None, valid: Sequence[np.ndarray], scores: Sequence[np.ndarray]
) -> Difference:
    valid_share, score = mean_over_strata(valid), mean_over_strata(scores)
    assert valid_share is not None and score is not None
    return Difference(policy, minus, kind, task_id, sum(map(len, scores)), valid_share, score)


def _problems(entries: Sequence[Entry], noted: Mapping[str, str]) -> dict[str, str]:
    problems = dict(noted)
    for entry in entries:
        name = f"{entry.policy} on {entry.task_id}"
        if entry.faults and name not in problems and entry.kind != "both":
            problems[name] = (
                f"{entry.faults} of {entry.n + entry.faults} samples were lost to infrastructure faults; run the same command "
                "again to score them"
            )
    return problems


def _task_note(note: Mapping[str, Any]) -> TaskNote:
    transform = dict(note["transform"])
    return TaskNote(
        **{**note, "transform": ScoreTransform(**{**transform, "leaderboard": tuple(transform["leaderboard"])})}
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
