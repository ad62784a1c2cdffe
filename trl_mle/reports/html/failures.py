"""Failure classes of a run: how often each occurs, whether it grows or shrinks, and examples to look at."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trl_mle.evaluation.failure_classes import CLASS_COLUMNS, failure_class
from trl_mle.outcomes import Column, RunColumn
from trl_mle.reports.html.curves import rounded
from trl_mle.reports.html.loading import LoadedRun

MAX_CLASSES = 15
"""Classes that are shown, the most frequent first."""
MAX_EXAMPLES = 3
_COLUMNS = (*CLASS_COLUMNS, Column.PROGRAM)


def failures(run: LoadedRun) -> list[dict[str, Any]]:
    """The most frequent failure classes.

    Each has its `name`, `count`, its shares of the rollouts of the run, of its first and of its last fifth, the `first_step` and
    `last_step` with it, and `examples`: the newest rows of the run with different programs.
    """
    rollouts = run.rollouts
    batches = rollouts[RunColumn.BATCH].tolist()
    steps = rollouts[RunColumn.STEP].tolist()
    rows = zip(*(rollouts[column].tolist() for column in _COLUMNS), strict=True)
    last = max(batches)
    fifth = max(1, (last + 1) // 5)
    in_first, in_last = sum(batch < fifth for batch in batches), sum(batch > last - fifth for batch in batches)
    count: Counter[str] = Counter()
    first_count: Counter[str] = Counter()
    last_count: Counter[str] = Counter()
    places: dict[str, list[int]] = {}
    programs = rollouts[Column.PROGRAM].tolist()
    for place, values in enumerate(rows):
        name = failure_class(dict(zip(_COLUMNS, values, strict=True)))
        if name is None:
            continue
        count[name] += 1
        first_count[name] += batches[place] < fifth
        last_count[name] += batches[place] > last - fifth
        places.setdefault(name, []).append(place)
    return [
        {
            "name": name,
            "count": number,
            "share": rounded(number / len(batches)),
            "first_share": rounded(first_count[name] / in_first) if in_first else None,
            "last_share": rounded(last_count[name] / in_last) if in_last else None,
            "first_step": rounded(steps[places[name][0]]),
            "last_step": rounded(steps[places[name][-1]]),
            "examples": _examples(places[name], programs),
        }
        for name, number in count.most_common(MAX_CLASSES)
    ]


def _examples(places: list[int], programs: list[Any]) -> list[int]:
    """The newest of `places` with different programs."""
    found: dict[Any, int] = {}
    for place in reversed(places):
        program = programs[place] if isinstance(programs[place], str) else None
        found.setdefault(program, place)
        if len(found) == MAX_EXAMPLES:
            break
    return list(found.values())
