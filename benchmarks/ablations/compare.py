"""Means of the arms over tasks and seeds, and paired differences with intervals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from ablations.arms import ALL, Study

Run = Mapping[str, Any]
"""Content of a `figures.json`."""
Key = tuple[str, int]
"""Task and seed of a run."""

RESAMPLES = 5000
FEWEST = 3
"""Fewest seeds per task of an interval."""
BOOTSTRAPPED = 10
"""Seeds per task from which intervals are bootstrapped. Of five seeds of one task, a 95 % interval of percentiles covers the
truth in 84 % of the cases."""
SAMPLED = ("score", "score of the best of 16", "best program", "valid share", "slow share")
"""Figures of a policy's samples, or of its best program."""
LEARNED = ("public at the end", "private at the end")
"""Scores of the valid programs of the end of a training, on the scale of the reward."""
TRAINED = (
    "programs per second",
    "samples to the first valid program",
    "seconds to 90 % of the final reward",
    "programs to 90 % of the final reward",
)
"""Figures of a training."""
TIMED = ("programs per second", "seconds to 90 % of the final reward")
"""Figures that mean nothing where runs share known programs."""
COMPARED = (*SAMPLED, "programs per second")


def value_of(run: Run, figure: str) -> float | None:
    """A figure of a run, as a mean over its tasks; `held out: ...` is one of the held-out tasks."""
    if figure in TIMED and run["budget"] != "clock":
        return None
    if figure in TRAINED:
        return run["training"].get(figure)
    part, name = (
        ("held out", figure.removeprefix("held out: ")) if figure.startswith("held out: ") else ("tasks", figure)
    )
    values = [entry.get(name) for entry in run[part].values()]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def summarise(runs: Sequence[Run], study: Study, budget: str) -> dict[str, Any]:
    """Arm -> its means and its differences, of the runs of one budget."""
    return {
        part: _summary(chosen, study)
        for part, chosen in (
            ("each", [run for run in runs if run["budget"] == budget and run["task"] != ALL]),
            ("all", [run for run in runs if run["budget"] == budget and run["task"] == ALL]),
        )
        if chosen
    }


def _summary(runs: Sequence[Run], study: Study) -> dict[str, Any]:
    by_arm: dict[str, dict[Key, Run]] = {}
    for run in runs:
        by_arm.setdefault(run["arm"], {})[run["task"], run["seed"]] = run
    figures = [*SAMPLED, *LEARNED, *TRAINED, *(f"held out: {name}" for name in SAMPLED[:2])]
    summary: dict[str, Any] = {}
    for name, arm in study.arms.items():
        if name not in by_arm:
            continue
        by_task = _by_task(by_arm[name])
        entry: dict[str, Any] = {"label": arm.label, "runs": len(by_arm[name]), "tasks": len(by_task)}
        entry["means"] = {figure: _mean_over_tasks(by_arm[name], figure) for figure in figures}
        entry["by task"] = {
            task: {"runs": len(runs), "means": {figure: _mean_over_tasks(runs, figure) for figure in figures}}
            for task, runs in by_task.items()
        }
        entry["slow share by sixths"] = _sixths(list(by_arm[name].values()))
        for other in dict.fromkeys(("plain", arm.against)):
            if other is not None and other != name and other in by_arm:
                entry.setdefault("differences", {})[other] = {
                    figure: difference(by_arm[name], by_arm[other], figure) for figure in COMPARED
                }
                entry.setdefault("differences by task", {})[other] = {
                    task: difference(runs, by_arm[other], "score") for task, runs in by_task.items()
                }
        summary[name] = entry
    return summary


def _mean_over_tasks(runs: Mapping[Key, Run], figure: str) -> float | None:
    """Mean over tasks of the means over seeds."""
    values = ([value_of(run, figure) for run in of_task.values()] for of_task in _by_task(runs).values())
    known = [[value for value in of_task if value is not None] for of_task in values]
    means = [np.mean(of_task) for of_task in known if of_task]
    return round(float(np.mean(means)), 4) if means else None


def _by_task(runs: Mapping[Key, Run]) -> dict[str, dict[Key, Run]]:
    """Task -> its runs."""
    found: dict[str, dict[Key, Run]] = {}
    for (task, seed), run in sorted(runs.items(), key=lambda item: item[0]):
        found.setdefault(task, {})[task, seed] = run
    return found


def _sixths(runs: Sequence[Run]) -> list[float | None]:
    rows = [run["training"].get("slow share by sixths") for run in runs]
    columns = zip(*(row for row in rows if row), strict=False)
    known = [[value for value in column if value is not None] for column in columns]
    return [round(float(np.mean(values)), 4) if values else None for values in known]


def difference(ours: Mapping[Key, Run], theirs: Mapping[Key, Run], figure: str) -> dict[str, Any] | None:
    """Difference between two arms over the tasks and seeds that both have, and the same in relation to the other arm.

    Tasks are fixed; the seeds of each are resampled by themselves. The interval says nothing about other tasks. With fewer than
    ten seeds of a task it is Student's t: of the differences, and of the logarithm of the quotient.

    Returns:
        `pairs`, `difference` with `low` and `high`, and `relative` with `relative low` and `relative high`: the quotient of
        the two means less 1. An end is `None` if a task has fewer than three pairs. `None` if there is no pair.
    """
    strata: dict[str, dict[int, tuple[float, float]]] = {}
    for key in ours.keys() & theirs.keys():
        pair = value_of(ours[key], figure), value_of(theirs[key], figure)
        if pair[0] is not None and pair[1] is not None:
            strata.setdefault(key[0], {})[key[1]] = pair  # type: ignore[assignment]
    if not strata:
        return None
    data = [np.array(sorted(pairs.values()), dtype=float) for _, pairs in sorted(strata.items())]
    found: dict[str, Any] = {"pairs": sum(map(len, data))}
    for name, statistic in (("difference", _mean_difference), ("relative", _relative)):
        if min(map(len, data)) >= BOOTSTRAPPED:
            low, high = bootstrap(data, statistic)
        elif name == "difference":
            low, high = student([pairs[:, 0] - pairs[:, 1] for pairs in data])
        else:
            low, high = _student_of_quotient(data)
        prefix = "" if name == "difference" else "relative "
        found |= {name: _rounded(statistic(data)), f"{prefix}low": low, f"{prefix}high": high}
    return found


def student(strata: Sequence[np.ndarray]) -> tuple[float | None, float | None]:
    """Ends of a 95 % interval of the mean over strata of their means, by Student's t with the degrees of freedom of Welch and
    Satterthwaite (Satterthwaite 1946, Biometrics Bulletin 2); `None` if a stratum has fewer than three values."""
    if min(map(len, strata)) < FEWEST:
        return None, None
    mean = float(np.mean([values.mean() for values in strata]))
    variances = np.array([values.var(ddof=1) / len(values) for values in strata])
    if not np.isfinite(variances).all() or np.sqrt(variances.sum()) < 1e-9:
        return _rounded(mean), _rounded(mean)
    freedom = variances.sum() ** 2 / sum(variances**2 / [len(values) - 1 for values in strata])
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variances.sum()) / len(strata)
    return _rounded(mean - half), _rounded(mean + half)


def _student_of_quotient(data: Sequence[np.ndarray]) -> tuple[float | None, float | None]:
    """Ends of a 95 % interval of the quotient of two means less 1: the logarithm of the quotient, by its linear approximation."""
    ours, theirs = (float(np.mean([pairs[:, side].mean() for pairs in data])) for side in (0, 1))
    if min(ours, theirs) <= 0:
        return None, None
    low, high = student([pairs[:, 0] / ours - pairs[:, 1] / theirs for pairs in data])
    if low is None or high is None:
        return None, None
    at = math.log(ours / theirs)  # the approximation has the mean 0
    return _rounded(math.expm1(at + low)), _rounded(math.expm1(at + high))


def _mean_difference(data: Sequence[np.ndarray]) -> float:
    return float(np.mean([(pairs[:, 0] - pairs[:, 1]).mean() for pairs in data]))


def _relative(data: Sequence[np.ndarray]) -> float:
    ours, theirs = (float(np.mean([pairs[:, side].mean() for pairs in data])) for side in (0, 1))
    return ours / theirs - 1.0 if theirs > 0 else math.nan


def bootstrap(
    data: Sequence[np.ndarray], statistic: Callable[[Sequence[np.ndarray]], float]
) -> tuple[float | None, float | None]:
    """Ends of a 95 % percentile interval; every task's pairs of shape (seeds, 2) are resampled by themselves."""
    if min(map(len, data)) < FEWEST or all(np.ptp(pairs, axis=0).max() == 0 for pairs in data):
        return None, None

    def of_indices(*indices: np.ndarray) -> float:
        return statistic([pairs[chosen.astype(int)] for pairs, chosen in zip(data, indices, strict=True)])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample without a positive mean has no quotient
        result = stats.bootstrap(
            tuple(np.arange(len(pairs)) for pairs in data),
            of_indices,
            vectorized=False,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(0),
        )
    interval = result.confidence_interval
    return _rounded(interval.low), _rounded(interval.high)


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
