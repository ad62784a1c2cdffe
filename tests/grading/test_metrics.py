"""Every metric: known values, direction, and accepted predictions."""

import numpy as np
import pytest

from trl_mle.errors import TaskError
from trl_mle.grading import METRICS, get_metric

CODES = np.array([0, 1, 1, 0, 1, 2])
NUMBERS = np.array([1.0, 2.0, 4.0, 8.0])


def test_unknown_metric_lists_the_choices():
    with pytest.raises(TaskError, match=r"'acuracy'.*accuracy.*rmse"):
        get_metric("acuracy")


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_perfect_predictions_reach_the_best_score_and_worse_ones_do_not(metric):
    if metric.predicts == "number":
        truth, perfect, worse = NUMBERS, NUMBERS, NUMBERS[::-1]
    elif metric.predicts == "label":
        truth, perfect, worse = CODES, CODES, np.array([3, 1, 0, 0, 1, 2])
    elif metric.predicts == "text":
        truth = perfect = np.array(["a b", "c", ""], dtype=object)
        worse = truth[::-1]
    else:
        truth, perfect = CODES, np.eye(3)[CODES]
        worse = np.full((6, 3), 1 / 3)
    best = metric.score(truth, perfect, 3)
    assert best == pytest.approx(metric.best, abs=1e-9)
    below = metric.score(truth, worse, 3)
    assert below < best if metric.direction == "maximize" else below > best


@pytest.mark.parametrize(
    ("name", "truth", "predicted", "expected"),
    [
        ("accuracy", [0, 1, 1, 0], [0, 1, 0, 0], 0.75),
        ("balanced_accuracy", [0, 0, 0, 1], [0, 0, 0, 0], 0.5),
        ("f1_macro", [0, 0, 1, 1], [0, 0, 1, 2], (0.8 + 2 / 3) / 2),
        ("rmse", [0.0, 0.0], [3.0, 4.0], np.sqrt(12.5)),
        ("rmsle", [0.0, np.e - 1], [0.0, 0.0], np.sqrt(0.5)),
        ("mae", [0.0, 0.0], [3.0, -4.0], 3.5),
        ("median_absolute_error", [0.0, 0.0, 0.0], [1.0, 2.0, 9.0], 2.0),
        ("r2", [1.0, 2.0, 3.0], [2.0, 2.0, 2.0], 0.0),
    ],
)
def test_known_values(name, truth, predicted, expected):
    assert get_metric(name).score(np.array(truth), np.array(predicted), 2) == pytest.approx(expected)


def test_log_loss_and_roc_auc_of_two_classes_look_at_the_second_column():
    truth, positive = np.array([0, 1, 1]), np.array([0.2, 0.4, 0.9])
    rows = np.column_stack([1 - positive, positive])
    assert get_metric("log_loss").score(truth, rows, 2) == pytest.approx(-np.log([0.8, 0.4, 0.9]).mean())
    assert get_metric("roc_auc").score(truth, rows, 2) == 1.0
    assert get_metric("roc_auc").score(truth, rows[:, ::-1], 2) == 0.0


def test_a_certain_and_wrong_probability_has_a_finite_log_loss():
    assert np.isfinite(get_metric("log_loss").score(np.array([0, 1]), np.array([[0.0, 1.0], [1.0, 0.0]]), 2))


@pytest.mark.parametrize("name", ["f1_macro", "f1_weighted"])
def test_no_label_is_better_than_a_guess(name):
    """A label that no answer has lowers no class's precision by itself, so it would pay for rows that nobody can predict."""
    score, rng = get_metric(name).score, np.random.default_rng(0)
    truth, unsure = rng.integers(0, 5, 400), rng.random(400) < 0.3
    guesses = [score(truth, np.where(unsure, label, truth), 5) for label in range(5)]
    assert score(truth, np.where(unsure, 5, truth), 5) < min(guesses)
    # Nor does a class that only the other part of the answers has.
    assert score(truth % 4, np.where(unsure, 4, truth % 4), 5) < min(guesses)
    assert score(np.zeros(3, int), np.array([0, 1, 1]), 2) == pytest.approx(0.5)
