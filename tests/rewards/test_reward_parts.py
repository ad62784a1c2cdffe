"""Validity and score as two reward functions of one run of the programs."""

from __future__ import annotations

import asyncio
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.rewards.test_mle_reward import GOOD, Log, answer
from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from trl_mle import MLEReward, RewardConfig
from trl_mle.errors import ConfigError, SandboxError, TaskError
from trl_mle.rewards.reward_parts import part_of, validity_weight
from trl_mle.types import Outcome


def call_both(reward, completions, task, score="score", **columns):
    """Both parts as TRL calls them: at the same time, with the same lists."""
    log = Log()

    async def call():
        prompts = [""] * len(completions)
        common = {"prompts": prompts, "completions": completions, "task": [task.id] * len(completions), **columns}
        try:
            parts = reward.parts(score)
            return await asyncio.gather(
                *(part(**common, log_extra=log.extra, log_metric=log.metric) for part in parts)
            )
        finally:
            await reward.aclose()

    return asyncio.run(call()), log


@pytest.fixture
def task(tmp_path):
    return toy_task(tmp_path)


def sandbox_of(task, *answers):
    ids = [line.split(",")[0] for line in (task.public_dir / "test.csv").read_text().splitlines()[1:]]
    submission = "id,y\n" + "".join(f"{id_},0.5\n" for id_ in ids)
    kinds = {
        "valid": execution(submission=submission.encode()),
        "error": execution("error", exit_code=1),
        "fault": SandboxError("the machine is gone"),
    }
    return Scripted(*(kinds[answer] for answer in answers))


def test_programs_run_once_and_the_parts_add_up(task):
    sandbox = sandbox_of(task, "valid", "error", "fault", "valid")
    reward = MLEReward(sandbox, tasks={task.id: task}, reward=RewardConfig(infrastructure_retries=0))
    (validity, score), log = call_both(reward, [answer(GOOD) for _ in range(4)], task)
    assert sandbox.calls == 4
    kinds = log.columns["kind"]
    assert sorted(kinds) == ["failure", "fault", "valid", "valid"]
    for kind, valid, points, whole in zip(kinds, validity, score, log.columns["mle_reward"], strict=True):
        if kind == "fault":
            assert (valid, points, whole) == (None, None, None)
        elif kind == "valid":
            assert (valid, points) == (0.0, whole) and -1 <= points <= 1
        else:
            assert (points, valid) == (None, whole) and valid <= -9
    assert len(log.columns["action_duration"]) == 4  # logged once


def test_both_see_an_error(task):
    async def call():
        reward, completions = MLEReward(sandbox_of(task, "valid")), ["x"]
        calls = (part(prompts=[""], completions=completions, task=None) for part in reward.parts())
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second = asyncio.run(call())
    assert isinstance(first, TaskError) and second is first


def test_a_part_alone_runs_the_programs(task):
    sandbox = sandbox_of(task, "valid", "error")

    async def call():
        reward = MLEReward(sandbox, tasks={task.id: task})
        try:
            _, score = reward.parts()
            return [await score([""], [answer(GOOD)], task=[task.id]) for _ in range(2)]
        finally:
            await reward.aclose()

    (valid,), (failed,) = asyncio.run(call())
    assert -1 <= valid <= 1 and failed is None and sandbox.calls == 2


@given(st.sampled_from(["valid", "failure", "timeout", "fault"]), st.floats(-1, 1), st.integers(0, 7))
def test_any_outcome_has_parts_that_add_up(kind, points, milestones):
    value = {"valid": points, "fault": None}.get(kind, -10 + 0.1 * milestones)
    outcome = Outcome(task_id="t", kind=kind, reward=value, duration_s=1.0)
    parts = [part_of(outcome, name) for name in ("validity", "score")]
    if kind == "fault":
        assert parts == [None, None]
    else:
        assert sum(part for part in parts if part is not None) == value
        assert (parts[1] is None) == (kind != "valid")


def test_an_unknown_aggregation_is_named():
    with pytest.raises(ConfigError, match="`reward_aggregation` is 'mean'; choose 'sum', 'parts', 'rank' or 'gain'"):
        RewardConfig(aggregation="mean")


FAILURES = st.integers(0, 7).map(lambda milestones: (-10 + 0.1 * milestones, math.nan))
VALID = st.one_of(st.floats(-1, 1), st.sampled_from([-1.0, 1.0])).map(lambda points: (0.0, points))


def normalised(values: torch.Tensor) -> torch.Tensor:
    """As TRL's `normalize_then_sum` within a group; 0 where there is no value."""
    there = values[~torch.isnan(values)]
    spread = there.std() if len(there) > 1 else torch.tensor(math.nan, dtype=values.dtype)
    return torch.nan_to_num((values - there.mean()) / (spread + 1e-4))


@given(st.lists(st.one_of(FAILURES, VALID), min_size=2, max_size=32))
@example([(-10.0, math.nan)] * 5 + [(0.0, 1.0)] * 10 + [(0.0, -1.0)])
@example([(-9.3, math.nan)] + [(-10.0, math.nan)] * 4 + [(0.0, 1.0)] * 10 + [(0.0, -1.0)])
@example([(-9.3, math.nan)] + [(-10.0, math.nan)] * 9 + [(0.0, 1.0)] * 21 + [(0.0, -1.0)])
def test_no_failure_gets_more_than_a_valid_submission_of_its_group(group):
    validity, score = torch.tensor(group, dtype=torch.float64).unbind(dim=1)
    sums = validity_weight(len(group), RewardConfig()) * normalised(validity) + normalised(score)
    valid = validity == 0
    if valid.any() and not valid.all():
        assert sums[valid].min() > sums[~valid].max() - 1e-3


def test_the_gain_is_over_the_parent_of_the_row(task):
    def reward():
        return MLEReward(sandbox_of(task, "valid", "valid"), tasks={task.id: task})

    (_, score), _ = call_both(reward(), [answer(GOOD)] * 2, task)
    parents = [score[0] - 0.1, None]
    (validity, gain), _ = call_both(reward(), [answer(GOOD)] * 2, task, score="gain", parent_score=parents)
    assert validity == [0, 0]
    assert gain == pytest.approx([0.05, (score[1] + 1) / 2])


def test_without_a_parent_the_gain_is_the_score_on_another_scale(task):
    reward = MLEReward(sandbox_of(task, "valid"), tasks={task.id: task})
    (_, gain), _ = call_both(reward, [answer(GOOD)], task, score="gain")
    assert 0 <= gain[0] <= 1
