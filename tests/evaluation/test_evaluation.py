"""A run read back: first against last, the best by public score, files on disk; and validation of tasks."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from rich.console import Console

from tests.support.tasks import toy_task
from trl_mle import LocalSandbox
from trl_mle.errors import ConfigError, TaskError
from trl_mle.evaluation import (
    Validation,
    read_rollouts,
    remembered_validation,
    report_run,
    scores_section,
    summarise,
    validate_task,
    validate_task_once,
)
from trl_mle.evaluation.validate import ProgramScore

BASELINE = """
import pandas as pd
pd.read_csv("input/sample_submission.csv").to_csv("submission.csv", index=False)
"""
REFERENCE = """
import pandas as pd
test = pd.read_csv("input/test.csv")
test["y"] = 2 * test["a"] - test["b"]
test[["id", "y"]].to_csv("submission.csv", index=False)
"""


def row(kind, reward, public=None, private=None, seconds=1.0, program="pass", task_id="toy"):
    return {
        "kind": kind,
        "mle_reward": reward,
        "public_score": public,
        "private_score": private,
        "action_duration": seconds,
        "program": program,
        "task_id": task_id,
        "milestones": ["imported_libraries"],
    }


@pytest.fixture
def run_dir(tmp_path):
    """Ten generation batches of two: they get better, and two rows are infrastructure faults."""
    folder = tmp_path / "run"
    (folder / "rollouts").mkdir(parents=True)
    for batch in range(10):
        valid = row("valid", batch / 10, 3.0 - batch / 10, 4.0 - batch / 10, program=f"print({batch})")
        other = row("failure", -10.0, seconds=None) if batch < 8 else row("fault", None, seconds=None, program=None)
        frame = pd.DataFrame([valid, other]).assign(step=batch)
        frame.to_parquet(folder / f"rollouts/train_{batch:06d}_00.parquet")
    return folder


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
    lost = {**row(None, None, seconds=4.0, program=None, task_id=None), "milestones": None}
    pd.DataFrame([row("valid", 0.9, 2.0, 3.0), lost]).assign(step=9).to_parquet(
        run_dir / "rollouts/train_000009_00.parquet"
    )
    summary = report_run(run_dir, {"toy": toy_task(tmp_path)}, console=Console(quiet=True))
    assert (summary.rollouts, summary.faults, summary.lost) == (20, 1, 1)
    assert (summary.last.rollouts, summary.last.valid_share) == (2, 1.0)


def test_rollouts_of_another_reward_function_are_named(run_dir, tmp_path):
    for path in (run_dir / "rollouts").iterdir():
        pd.read_parquet(path).drop(columns=["kind", "task_id"]).to_parquet(path)
    with pytest.raises(ConfigError, match=r"no `kind`, `task_id`.*MLEReward"):
        report_run(run_dir, {"toy": toy_task(tmp_path)})


def test_the_best_is_chosen_by_public_score_in_the_tasks_direction(run_dir, tmp_path):
    task = toy_task(tmp_path)  # rmse: lower is better
    best = summarise(read_rollouts(run_dir), {"toy": task}).best["toy"]
    assert best.public_score == pytest.approx(2.1)
    assert best.private_score == pytest.approx(3.1)
    assert (best.program, best.step) == ("print(9)", 9)


def test_report_writes_programs_summary_and_picture(run_dir, tmp_path):
    task = toy_task(tmp_path)
    own = {"toy": Validation("toy", ProgramScore(2.5, 2.6, 0.1), ProgramScore(0.1, 0.2, 3.0))}
    console = Console(record=True, width=120)
    summary = report_run(run_dir, {"toy": task}, own, console)
    shown = console.export_text()
    for words in ("first fifth", "last fifth", "2.6", "3.1", "0.2", "2 infrastructure faults", "report.png"):
        assert words in shown
    assert (run_dir / "best/toy/program.py").read_text() == "print(9)"
    assert json.loads((run_dir / "best/toy/best.json").read_text())["step"] == 9
    assert json.loads((run_dir / "summary.json").read_text())["best"]["toy"]["private_score"] == pytest.approx(3.1)
    assert (run_dir / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "private score 3.1 (baseline 2.6, reference 0.2)" in scores_section(summary, own)


def test_a_run_without_any_valid_program_can_be_reported(tmp_path):
    folder = tmp_path / "run"
    (folder / "rollouts").mkdir(parents=True)
    pd.DataFrame([row("failure", -10.0, seconds=None)]).assign(step=0).to_parquet(folder / "rollouts/train_0.parquet")
    console = Console(record=True, width=120)
    summary = report_run(folder, {"toy": toy_task(tmp_path)}, console=console)
    assert "none valid" in console.export_text()
    assert summary.best == {}
    assert json.loads((folder / "summary.json").read_text())["first"]["duration_s"] is None


def test_a_folder_without_rollouts_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No rollouts in"):
        read_rollouts(tmp_path)


async def test_a_reference_that_beats_the_baseline_is_measured_and_remembered(tmp_path):
    task = toy_task(tmp_path, baseline=BASELINE, reference=REFERENCE)
    assert remembered_validation(task) is None
    async with LocalSandbox(workers=1) as sandbox:
        validation = await validate_task_once(task, sandbox)
    assert validation.reference.public < validation.baseline.public
    assert validation.reference.wall_s > 0
    assert remembered_validation(task) == validation
    task.reference.write_text(REFERENCE + "# changed\n")
    assert remembered_validation(task) is None
    (task.folder / "validation.json").write_text('{"key":')
    assert remembered_validation(task) is None


@pytest.mark.parametrize(
    ("baseline", "reference", "words"),
    [
        (REFERENCE, BASELINE, r"reference solution \(.*does not beat the baseline"),
        (BASELINE, BASELINE, "does not beat"),
        (BASELINE, "raise ValueError('broken')", "reference program ended with status 'error': ValueError: broken"),
        ("open('submission.csv', 'w').write('id,y\\n')", REFERENCE, "baseline program's submission is invalid"),
    ],
)
async def test_a_task_with_nothing_to_learn_is_refused(tmp_path, baseline, reference, words):
    task = toy_task(tmp_path, baseline=baseline, reference=reference)
    async with LocalSandbox(workers=1) as sandbox:
        with pytest.raises(TaskError, match=words):
            await validate_task(task, sandbox)


async def test_a_task_without_programs_of_its_own_is_fine(tmp_path):
    async with LocalSandbox(workers=1) as sandbox:
        assert await validate_task(toy_task(tmp_path), sandbox) == Validation("toy", None, None)


def test_rollouts_of_a_moved_run_are_still_found(run_dir, tmp_path):
    moved = tmp_path / "moved"
    shutil.move(run_dir, moved)
    assert len(read_rollouts(moved)) == 20
