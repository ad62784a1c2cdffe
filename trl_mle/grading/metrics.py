"""Named metrics on top of scikit-learn, each with the kind of predictions that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trl_mle.errors import TaskError
from trl_mle.types import Direction

if TYPE_CHECKING:
    import numpy as np

PredictionKind = Literal["probability", "number", "label", "text"]
ScoreFunction = Callable[["np.ndarray", "np.ndarray", int], float]


@dataclass(frozen=True)
class Metric:
    """A metric and the kind of predictions that it takes.

    The arguments of `score(y_true, y_pred, n_classes)` are finite arrays that have passed the form checks. For N rows and K
    classes:

    - `label`: `y_true` (N,) and `y_pred` (N,) hold class codes 0..K-1. The code K is a label that no answer has.
    - `number`: `y_true` (N,) and `y_pred` (N,) hold floats.
    - `text`: `y_true` (N,) and `y_pred` (N,) hold `str` objects.
    - `probability`: `y_true` (N,) holds class codes, `y_pred` (N, K) holds rows of probabilities with the sum 1.
    """

    name: str
    """Name in `task.yaml` and in the prompt."""
    direction: Direction
    """Whether a higher or a lower score is better."""
    predicts: PredictionKind
    """Kind of values in the prediction columns."""
    function: ScoreFunction
    """Function `(y_true, y_pred, n_classes) -> score`."""
    best: float
    """Score of a perfect submission."""
    minimum: float | None = None
    """Smallest allowed target and prediction; `None` for no limit."""
    needs_every_class: bool = False
    """Whether the score is defined only if each part of the answers holds each class."""
    needs_two_values: bool = False
    """Whether the score is defined only if each part of the answers holds more than one value."""

    def score(self, y_true: np.ndarray, y_pred: np.ndarray, n_classes: int = 0) -> float:
        """The score. It is not finite if predictions are so large that they overflow."""
        import numpy as np

        with np.errstate(all="ignore"):
            return float(self.function(y_true, y_pred, n_classes))


def _accuracy(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import accuracy_score

    return accuracy_score(y_true, y_pred)


def _balanced_accuracy(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    import numpy as np
    from sklearn.metrics import recall_score

    # The same number as `balanced_accuracy_score`, without its warning for a label that no answer has.
    return recall_score(y_true, y_pred, labels=np.unique(y_true), average="macro", zero_division=0)


def _f1_macro(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    return _f1(y_true, y_pred, "macro")


def _f1_weighted(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    return _f1(y_true, y_pred, "weighted")


def _f1(y_true: np.ndarray, y_pred: np.ndarray, average: str) -> float:
    """F1 over the classes of `y_true`. Any other label counts as a wrong one of them.

    Otherwise such a label would lower no class's precision, and a program that invents one for the rows it is unsure of would
    get a better score than it can with a guess.
    """
    import numpy as np
    from sklearn.metrics import f1_score

    labels = np.unique(y_true)
    other = ~np.isin(y_pred, labels)
    if len(labels) > 1 and other.any():
        y_pred = np.where(other, labels[(np.searchsorted(labels, y_true) + 1) % len(labels)], y_pred)
    return f1_score(y_true, y_pred, labels=labels, average=average, zero_division=0)


def _matthews(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import matthews_corrcoef

    return matthews_corrcoef(y_true, y_pred)


def _log_loss(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import log_loss

    return log_loss(y_true, y_pred, labels=list(range(n_classes)))


def _roc_auc(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import roc_auc_score

    if n_classes == 2:
        return roc_auc_score(y_true, y_pred[:, 1])
    return roc_auc_score(y_true, y_pred, multi_class="ovr", average="macro", labels=list(range(n_classes)))


def _rmse(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import root_mean_squared_error

    return root_mean_squared_error(y_true, y_pred)


def _rmsle(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import root_mean_squared_log_error

    return root_mean_squared_log_error(y_true, y_pred)


def _mae(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import mean_absolute_error

    return mean_absolute_error(y_true, y_pred)


def _median_absolute_error(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import median_absolute_error

    return median_absolute_error(y_true, y_pred)


def _r2(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    from sklearn.metrics import r2_score

    # With `force_finite`, scikit-learn would invent a score for a constant target; without it, the score is not finite.
    return r2_score(y_true, y_pred, force_finite=False)


def _r2_clipped(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    """R2, cut off at 0 and 1. A constant target gives 1 if it is met exactly and 0 otherwise, as in DARE-bench's evaluator."""
    import numpy as np
    from sklearn.metrics import r2_score

    return float(np.clip(r2_score(y_true, y_pred), 0.0, 1.0))


def _jaccard(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> float:
    """Mean over rows of the share of common words among all words of two texts, as Kaggle's tweet-sentiment-extraction has it.

    A word is what stands between white space, in lower case. Two texts without words are equal: 1.
    """
    shares = []
    for one, other in zip(y_true, y_pred, strict=True):
        true, predicted = set(one.lower().split()), set(other.lower().split())
        either = len(true | predicted)
        shares.append(len(true & predicted) / either if either else 1.0)
    return sum(shares) / len(shares)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "maximize", "label", _accuracy, best=1.0),
        Metric("balanced_accuracy", "maximize", "label", _balanced_accuracy, best=1.0),
        Metric("f1_macro", "maximize", "label", _f1_macro, best=1.0),
        Metric("f1_weighted", "maximize", "label", _f1_weighted, best=1.0),
        Metric("matthews_corrcoef", "maximize", "label", _matthews, best=1.0),
        Metric("log_loss", "minimize", "probability", _log_loss, best=0.0),
        Metric("roc_auc", "maximize", "probability", _roc_auc, best=1.0, needs_every_class=True),
        Metric("rmse", "minimize", "number", _rmse, best=0.0),
        Metric("rmsle", "minimize", "number", _rmsle, best=0.0, minimum=0.0),
        Metric("mae", "minimize", "number", _mae, best=0.0),
        Metric("median_absolute_error", "minimize", "number", _median_absolute_error, best=0.0),
        Metric("r2", "maximize", "number", _r2, best=1.0, needs_two_values=True),
        Metric("r2_clipped", "maximize", "number", _r2_clipped, best=1.0),
        Metric("jaccard", "maximize", "text", _jaccard, best=1.0),
    )
}
"""Every metric by its name."""


def get_metric(name: str) -> Metric:
    """The metric called `name`.

    Raises:
        TaskError: there is no such metric; the message lists the choices.
    """
    if not isinstance(name, str) or name not in METRICS:
        raise TaskError(f"unknown metric {name!r}; choose one of {', '.join(METRICS)}.")
    return METRICS[name]
