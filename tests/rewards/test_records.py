"""Metrics of a batch of outcomes."""

import pytest

from trl_mle.rewards.records import log_metrics
from trl_mle.types import Outcome


def metrics(*outcomes):
    logged = {}
    log_metrics(
        [Outcome(task_id="t", kind=kind, reward=reward, duration_s=None) for kind, reward in outcomes],
        logged.__setitem__,
    )
    return logged


def test_failures_count_as_the_worst_score_and_faults_not_at_all():
    logged = metrics(("valid", 0.5), ("valid", -0.1), ("failure", -9.9), ("timeout", -9.5), ("fault", None))
    assert logged["programs/valid_reward"] == pytest.approx(0.2)
    assert logged["programs/reward"] == pytest.approx((0.5 - 0.1 - 9.9 - 9.5) / 4)
    assert logged["programs/score_or_worst"] == pytest.approx((0.5 - 0.1 - 1 - 1) / 4)


def test_a_batch_without_valid_programs_has_the_worst_score():
    logged = metrics(("failure", -10.0), ("fault", None))
    assert "programs/valid_reward" not in logged
    assert logged["programs/score_or_worst"] == -1.0


def test_a_batch_of_faults_has_no_score():
    assert "programs/score_or_worst" not in metrics(("fault", None))
