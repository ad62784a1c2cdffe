"""Summary of a run: first against last, the best program by public score, and rows that have no outcome."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.support.rollouts import row, write_batch, write_run
from tests.support.tasks import toy_task
from trl_mle.errors import ConfigError
from trl_mle.evaluation import summarise
from trl_mle.outcomes import Column, read_rollouts


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "run")


def test_first_fifth_against_last_fifth(run_dir, tmp_path):
    summary = summarise(read_rollouts(run_dir), {"toy": toy_task(tmp_path)})
    assert (summary.rollouts, summary.faults) == (20, 2)
    assert summary.first.batches == summary.last.batches == 2
    assert (summary.first.rollouts, summary.last.rollouts) == (4, 2)
    assert summary.first.valid_share == 0.5
    assert summary.last.valid_share == 1.0
    assert summary.first.reward == pytest.approx((0.0 - 10 + 0.1 - 10) / 4)
    assert summary.last.reward == pytest.approx(0.85)
    assert summary.first.duration_s == 1.0


def test_lost_completions_are_no_outcomes(run_dir, tmp_path):
    lost = {**row(None, None, seconds=4.0, program=None, task_id=None), Column.MILESTONES: None, Column.SCHEMA: None}
    write_batch(run_dir, 9, [row("valid", 0.9, 2.0, 3.0), lost])
    summary = summarise(read_rollouts(run_dir), {"toy": toy_task(tmp_path)})
    assert (summary.rollouts, summary.faults, summary.lost) == (20, 1, 1)
    assert (summary.last.rollouts, summary.last.valid_share) == (2, 1.0)


def test_rollouts_of_another_reward_function_are_named(run_dir, tmp_path):
    for path in (run_dir / "rollouts").iterdir():
        pd.read_parquet(path).drop(columns=[Column.KIND, Column.TASK_ID]).to_parquet(path)
    with pytest.raises(ConfigError, match=r"no `kind`, `task_id`.*MLEReward"):
        summarise(read_rollouts(run_dir), {"toy": toy_task(tmp_path)})


def test_the_best_is_chosen_by_public_score_in_the_tasks_direction(run_dir, tmp_path):
    task = toy_task(tmp_path)  # rmse: lower is better
    best = summarise(read_rollouts(run_dir), {"toy": task}).best["toy"]
    assert best.public_score == pytest.approx(2.1)
    assert best.private_score == pytest.approx(3.1)
    assert (best.program, best.step) == ("print(9)", 9)


def test_names_of_reports_can_be_imported_from_evaluation():
    import trl_mle.evaluation
    import trl_mle.reports

    for name in ("report_run", "scores_section"):
        with pytest.warns(FutureWarning, match=rf"Import `{name}` from `trl_mle\.reports`"):
            assert getattr(trl_mle.evaluation, name) is getattr(trl_mle.reports, name)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = trl_mle.evaluation.other
