"""Verification of a generated task: dummy < baseline < reference, on both parts and beyond chance."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.grading import PARTS, AnswerKey, Metric, get_metric
from trl_mle.grading.form import FormError, check_form, parse_csv
from trl_mle.tasks.assemble import ID_COLUMN, TaskTables
from trl_mle.tasks.generate.refusal import Refusal
from trl_mle.tasks.task import Task
from trl_mle.types import Split

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 200
LEVEL = 0.95
"""Level of the bootstrap interval of the margin."""
SOLVED = 0.002
"""Share of the way from the dummy to a perfect score that a reference must leave. One that leaves less has found a leak."""
DUMMY = "dummy"


@dataclass(frozen=True)
class ProgramRun:
    """One run of a program of the task."""

    submission: bytes
    cpu_s: float
    """CPU time in seconds."""


@dataclass(frozen=True)
class PartScores:
    """Raw scores on one part of the answers."""

    dummy: float
    baseline: float
    reference: float
    margin: float
    """By how much the reference is better than the baseline, in the unit of the metric."""
    margin_low: float
    """Lower end of the bootstrap interval of the margin."""
    margin_high: float


class _TooLong(BaseException):  # no `except Exception` of a library may catch it
    """The CPU time of a program is used up."""


def run_program(program: Path, public: Path, cpu_s: float) -> ProgramRun:
    """Run a program that this package wrote in this process, in a new folder with `input/`.

    Programs of a policy are never run here. The time is CPU time, so that other work on the machine does not decide.

    Raises:
        Refusal: the program fails or takes longer than `cpu_s` seconds.
    """
    code = compile(program.read_text(encoding="utf-8"), program.name, "exec")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "input").symlink_to(public.resolve())
        start = time.process_time()
        try:
            with _quietly_in(Path(folder)), _cpu_limit(cpu_s):
                exec(code, {"__name__": "__main__"})
            seconds = time.process_time() - start
            return ProgramRun((Path(folder) / "submission.csv").read_bytes(), seconds)
        except _TooLong as error:
            raise Refusal(f"the {program.stem} is too slow", f"over {cpu_s:g} s of CPU time") from error
        except Exception as error:
            raise Refusal(f"the {program.stem} fails", f"{type(error).__name__}: {str(error)[:200]}") from error


def dummy_submission(tables: TaskTables, target: str, metric: str) -> bytes:
    """The best constant predictions: mean, median or shares of the classes in the train rows, or the most common class."""
    import numpy as np
    import pandas as pd

    y = tables.train[target]
    columns = [name for name in tables.sample.columns if name != ID_COLUMN]
    ids = tables.test[[ID_COLUMN]]
    if metric in ("rmse", "mae", "rmsle"):
        value = {"rmse": y.mean, "mae": y.median, "rmsle": lambda: np.expm1(np.log1p(y).mean())}[metric]()
        frame = ids.assign(**{columns[0]: float(value)})
    elif metric in ("log_loss", "roc_auc"):
        shares = y.astype(str).value_counts(normalize=True)
        row = [shares["1"]] if len(columns) == 1 else [shares.get(name, 0.0) for name in columns]
        frame = pd.concat([ids, pd.DataFrame([row] * len(ids), columns=columns, index=ids.index)], axis=1)
    else:
        frame = ids.assign(**{columns[0]: y.mode().iloc[0]})
    return frame.to_csv(index=False).encode()


def verify(task: Task, submissions: dict[str, bytes], seed: int) -> dict[str, PartScores]:
    """Compare the dummy, the baseline and the reference on the public and the private part.

    Args:
        task ([`Task`]):
            With the answers.
        submissions (`dict[str, bytes]`):
            Content of `submission.csv` of "dummy", "baseline" and "reference".
        seed (`int`):
            Seed of the bootstrap.

    Raises:
        Refusal: the task does not tell the three apart; the reason says how.
    """
    key = AnswerKey.from_csv(task.private_dir / "answers.csv", task)
    arrays = {name: _predictions(data, key, task, name) for name, data in submissions.items()}
    sign = 1.0 if task.direction == "maximize" else -1.0
    _check_solved(task, submissions, sign)
    result: dict[str, PartScores] = {}
    for at, part in enumerate(PARTS):
        scores = {name: _score(task, name, data, part) for name, data in submissions.items()}
        margin = sign * (scores["reference"] - scores["baseline"])
        each = PartScores(**scores, margin=margin, margin_low=margin, margin_high=margin)
        if sign * (each.baseline - each.dummy) <= 0 or sign * (each.reference - each.dummy) <= 0:
            raise Refusal("the dummy is not the worst", _figures(part, each))
        if margin > 0:
            low, high = _interval(key, part, arrays["baseline"], arrays["reference"], sign, seed + at)
            each = replace(each, margin_low=low, margin_high=high)
        if each.margin_low <= 0:
            raise Refusal("the margin is within chance", _figures(part, each))
        result[part] = each
    return result


def _predictions(data: bytes, key: AnswerKey, task: Task, name: str) -> np.ndarray:
    """Predictions as the metric takes them, in the order of the answers."""
    try:
        return check_form(parse_csv(data, len(key.ids) + 1, max_bytes=2**30), key, task)[0]
    except FormError as error:
        raise Refusal(f"the submission of the {name} is invalid", str(error)) from error


def _score(task: Task, name: str, data: bytes, part: Split) -> float:
    first = task.grade(data, part)
    if first.score is None:
        raise Refusal(f"the submission of the {name} is invalid", str(first.reason))
    if name == "reference" and (again := task.grade(data, part)) != first:
        raise Refusal("grading is not deterministic", f"{first.score!r} and {again.score!r}")
    return first.score


def _check_solved(task: Task, submissions: dict[str, bytes], sign: float) -> None:
    best = get_metric(task.metric).best
    scores = {name: task.grade(submissions[name], "all").score for name in (DUMMY, "reference")}
    dummy, reference = scores[DUMMY], scores["reference"]
    if dummy is None or reference is None:
        raise Refusal("a submission is invalid", "dummy" if dummy is None else "reference")
    if sign * (best - reference) <= SOLVED * abs(best - dummy):
        raise Refusal(
            "solved completely", f"{task.metric} {reference:.6g}, the dummy has {dummy:.6g}; probably a leak"
        )


def _interval(
    key: AnswerKey, part: Split, baseline: np.ndarray, reference: np.ndarray, sign: float, seed: int
) -> tuple[float, float]:
    """Bootstrap interval of the margin: rows are drawn with replacement, the same ones for both programs."""
    import numpy as np

    rng = np.random.default_rng(seed)
    rows, answers = key.rows(part), key.targets[0]
    truth, ours, other = answers.truth[rows], reference[rows], baseline[rows]
    if (loss := ROW_LOSSES.get(key.metric.name)) is not None:
        times = rng.multinomial(len(truth), [1 / len(truth)] * len(truth), RESAMPLES)
        finish = np.sqrt if key.metric.name in ("rmse", "rmsle") else np.asarray
        a, b = (finish(times @ loss(truth, each) / len(truth)) for each in (ours, other))
        margins = list(b - a)
    else:
        margins = _resampled(key.metric, len(answers.classes), truth, ours, other, sign, rng)
    if len(margins) < RESAMPLES / 2:
        raise Refusal("too few rows", "a class is missing in most samples of a part")
    low, high = np.quantile(margins, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resampled(
    metric: Metric,
    classes: int,
    truth: np.ndarray,
    ours: np.ndarray,
    other: np.ndarray,
    sign: float,
    rng: np.random.Generator,
) -> list[float]:
    """Margins of a metric that is no mean over rows."""
    import numpy as np
    from sklearn import config_context

    margins = []
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for _ in range(RESAMPLES):
            drawn = rng.integers(0, len(truth), len(truth))
            if len(np.unique(truth[drawn])) < len(np.unique(truth)):
                continue  # a metric over classes is not defined, or another one, if a class is missing
            a, b = (metric.score(truth[drawn], each[drawn], classes) for each in (ours, other))
            margins.append(sign * (a - b))
    return margins


def _log_losses(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    import numpy as np

    chosen = probability[np.arange(len(truth)), truth.astype(int)]
    return -np.log(np.clip(chosen, np.finfo(np.float64).eps, 1.0))


def _squared_log_errors(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    import numpy as np

    return (np.log1p(truth) - np.log1p(predicted)) ** 2


ROW_LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "rmse": lambda truth, predicted: (truth - predicted) ** 2,
    "rmsle": _squared_log_errors,
    "mae": lambda truth, predicted: abs(truth - predicted),
    "accuracy": lambda truth, predicted: 1.0 * (truth != predicted),
    "log_loss": _log_losses,
}
"""Loss of each row, for metrics that are the mean of it, or the root of the mean. Accuracy is 1 minus the mean."""


def _figures(part: str, scores: PartScores) -> str:
    return (
        f"{part}: dummy {scores.dummy:.4g}, baseline {scores.baseline:.4g}, reference {scores.reference:.4g}, margin "
        f"{scores.margin:.3g} [{scores.margin_low:.3g}, {scores.margin_high:.3g}]"
    )


@contextlib.contextmanager
def _quietly_in(folder: Path) -> Iterator[None]:
    """Work in `folder`, without prints and warnings."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _cpu_limit(cpu_s: float) -> Iterator[None]:
    """Raise `_TooLong` after `cpu_s` seconds of CPU time. Only in a main thread, as signals are."""

    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
