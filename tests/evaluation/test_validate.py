"""Validation of tasks: the reference beats the baseline, results are kept, and what is wrong is named."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.support.sandbox_doubles import Scripted
from tests.support.tasks import toy_task
from trl_mle import LocalSandbox
from trl_mle.errors import SandboxError, TaskError
from trl_mle.evaluation import Validation, remembered_validation, validate_task, validate_task_once

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

in_module = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox():
    async with LocalSandbox(workers=1) as sandbox:
        yield sandbox


@in_module
async def test_a_reference_that_beats_the_baseline_is_measured_and_remembered(tmp_path, sandbox):
    task = toy_task(tmp_path, baseline=BASELINE, reference=REFERENCE)
    assert remembered_validation(task) is None
    validation = await validate_task_once(task, sandbox)
    assert validation.reference.public < validation.baseline.public
    assert validation.reference.wall_s > 0
    assert remembered_validation(task) == validation
    task.reference.write_text(REFERENCE + "# changed\n")
    assert remembered_validation(task) is None
    (task.folder / "validation.json").write_text('{"key":')
    assert remembered_validation(task) is None


@in_module
@pytest.mark.parametrize(
    ("baseline", "reference", "words"),
    [
        (REFERENCE, BASELINE, r"reference solution \(.*does not beat the baseline"),
        (BASELINE, BASELINE, "does not beat"),
        (BASELINE, "raise ValueError('broken')", "reference program ended with status 'error': ValueError: broken"),
        ("open('submission.csv', 'w').write('id,y\\n')", REFERENCE, "baseline program's submission is invalid"),
    ],
)
async def test_a_task_with_nothing_to_learn_is_refused(tmp_path, sandbox, baseline, reference, words):
    task = toy_task(tmp_path, baseline=baseline, reference=reference)
    with pytest.raises(TaskError, match=words):
        await validate_task(task, sandbox)


@in_module
async def test_a_task_without_programs_of_its_own_is_fine(tmp_path, sandbox):
    assert await validate_task(toy_task(tmp_path), sandbox) == Validation("toy", None, None)


async def test_a_fault_of_the_sandbox_says_nothing_about_the_task(tmp_path):
    with pytest.raises(SandboxError, match="worker lost"):
        await validate_task(toy_task(tmp_path, baseline=BASELINE), Scripted(SandboxError("worker lost")))


async def test_a_fault_before_the_start_is_raised_at_once(tmp_path):
    sandbox = Scripted(SandboxError("worker lost", may_have_started=False))
    with pytest.raises(SandboxError, match="worker lost"):
        await validate_task(toy_task(tmp_path, baseline=BASELINE), sandbox)
    assert sandbox.calls == 1
