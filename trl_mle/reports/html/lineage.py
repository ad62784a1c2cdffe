"""Lineages: the chain of earlier solutions that led to the best program of each task, and the parents of rollouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trl_mle.errors import TrlMleError
from trl_mle.experience import STORE_FILE, Experience, ExperienceStore
from trl_mle.outcomes import Column, RunColumn, shorten
from trl_mle.reports.html.curves import rounded
from trl_mle.reports.html.loading import LoadedRun
from trl_mle.reports.html.texts import TEXT_CHARACTERS

if TYPE_CHECKING:
    import pandas as pd

MAX_DEPTH = 200
"""Ancestors that are followed. A damaged store may hold a circle."""
MAX_TASKS = 40
"""Tasks whose best lineage is shown."""


@dataclass
class Lineages:
    """What the report shows of the experience of a run."""

    best: list[dict[str, Any]] = field(default_factory=list)
    """Per task: `task`, and `chain`, the solutions from the first ancestor to the best program. If that program is from scratch, a
    second entry, with `improved`, ends in the best program whose prompt showed an earlier one."""
    parents: dict[int, int] = field(default_factory=dict)
    """Row of a rollout -> row of the rollout that its prompt showed. Rows without a known parent are missing."""
    note: str = ""
    """Why there is no lineage, or an empty string."""


def lineages(run: LoadedRun) -> Lineages:
    """Read the experience store of `run`. Without one, the best program of a task stands alone."""
    path = run.folder / STORE_FILE
    row_of = _rows_by_program(run.rollouts)
    if not path.is_file():
        alone = (_alone(run.rollouts, task) for task in run.tasks[:MAX_TASKS])
        note = "This run has no experience store, so every best program was written from scratch."
        return Lineages([entry for entry in alone if entry is not None], note=note)
    try:
        with ExperienceStore(path, read_only=True) as store:
            best = [
                chain for task in run.tasks[:MAX_TASKS] for chain in _chains_of_task(store, task, run.rollouts, row_of)
            ]
            return Lineages(best, _parents(store, run.rollouts, row_of))
    except TrlMleError as error:  # damaged, or of a newer version: everything else can still be shown
        return Lineages(note=f"The experience store cannot be read: {error}")


def _chains_of_task(
    store: ExperienceStore, task: str, rollouts: pd.DataFrame, row_of: Mapping[tuple, int]
) -> list[dict[str, Any]]:
    best = store.best(task)
    if not best:
        return []
    chains: list[dict[str, Any]] = [{"task": task, "chain": _ancestors(store, best[0], row_of), "improved": False}]
    child = _best_row(rollouts[rollouts[RunColumn.PARENT].notna()], task)
    if best[0].parent_id is None and child is not None:
        parent = store.get(int(rollouts.at[child, RunColumn.PARENT]))
        chain = [*_ancestors(store, parent, row_of), _row_entry(rollouts, child)]
        chains.append({"task": task, "chain": chain, "improved": True})
    return chains


def _ancestors(store: ExperienceStore, last: Experience, row_of: Mapping[tuple, int]) -> list[dict[str, Any]]:
    chain = [last]
    while chain[-1].parent_id is not None and len(chain) < MAX_DEPTH:
        chain.append(store.get(chain[-1].parent_id))
    return [_entry(experience, row_of) for experience in reversed(chain)]


def _entry(experience: Experience, row_of: Mapping[tuple, int]) -> dict[str, Any]:
    outcome = experience.outcome
    program = outcome.program
    return {
        "row": row_of.get(_key(outcome.task_id, experience.step, program.code if program else None)),
        "step": experience.step,
        "prompt": experience.prompt_kind,
        "kind": outcome.kind,
        "reward": rounded(outcome.reward),
        "public": rounded(outcome.public.score) if outcome.public else None,
        "private": rounded(outcome.private.score) if outcome.private else None,
        "seconds": rounded(outcome.duration_s),
        "plan": _text(program.plan) if program else "",
        "program": _text(program.code) if program else "",
    }


def _alone(rollouts: pd.DataFrame, task: str) -> dict[str, Any] | None:
    place = _best_row(rollouts, task)
    return None if place is None else {"task": task, "chain": [_row_entry(rollouts, place)], "improved": False}


def _best_row(rollouts: pd.DataFrame, task: str) -> int | None:
    """The valid rollout of `task` with the highest reward; the first one of equal ones."""
    valid = rollouts[(rollouts[Column.TASK_ID] == task) & (rollouts[Column.KIND] == "valid")]
    rewards = valid[Column.REWARD].astype(float).dropna()
    return None if rewards.empty else int(rewards.idxmax())


def _row_entry(rollouts: pd.DataFrame, place: int) -> dict[str, Any]:
    row = rollouts.loc[place]
    return {
        "row": place,
        "step": rounded(row[RunColumn.STEP]),
        "prompt": _text(row[RunColumn.PROMPT_KIND]) or "scratch",
        "kind": "valid",
        "reward": rounded(row[Column.REWARD]),
        "public": rounded(row[Column.PUBLIC_SCORE]),
        "private": rounded(row[Column.PRIVATE_SCORE]),
        "seconds": rounded(row[Column.DURATION]),
        "plan": _text(row[Column.PLAN]),
        "program": _text(row[Column.PROGRAM]),
    }


def _parents(store: ExperienceStore, rollouts: pd.DataFrame, row_of: Mapping[tuple, int]) -> dict[int, int]:
    shown = rollouts[RunColumn.PARENT].dropna()
    known: dict[int, int | None] = {}
    for id_ in _whole_numbers(shown.unique()):
        try:
            experience = store.get(id_)
        except TrlMleError:  # rollouts of another store
            continue
        program = experience.outcome.program
        key = _key(experience.outcome.task_id, experience.step, program.code if program else None)
        known[id_] = row_of.get(key)
    found = {int(row): known.get(int(id_)) for row, id_ in shown.items()}
    return {row: parent for row, parent in found.items() if parent is not None}


def _whole_numbers(values: Iterable[Any]) -> list[int]:
    return [int(value) for value in values]


def _rows_by_program(rollouts: pd.DataFrame) -> dict[tuple, int]:
    """(Task, step, program) -> the first row with them. Two stores give one outcome two ids, so ids do not tell."""
    columns = zip(rollouts[Column.TASK_ID], rollouts[RunColumn.STEP], rollouts[Column.PROGRAM], strict=True)
    rows: dict[tuple, int] = {}
    for place, (task, step, program) in enumerate(columns):
        if isinstance(program, str) and step == step:
            rows.setdefault(_key(task, int(step), program), place)
    return rows


def _key(task: str, step: int | None, program: str | None) -> tuple:
    return task, step, program


def _text(value: Any) -> str:
    return shorten(value, TEXT_CHARACTERS) if isinstance(value, str) else ""
