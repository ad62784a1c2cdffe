"""A policy that learns to sleep after its submission is noticed; honest programs that grow heavier, or slow machines, are not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.sandbox_doubles import execution
from trl_mle.rewards.idle_watch import MEMORY, IdleWatch, idle_share
from trl_mle.types import Outcome


def outcome(wall_s, cpu_s, kind="valid"):
    ran = replace(execution(), wall_s=wall_s, cpu_s=cpu_s)
    return Outcome(task_id="t", kind=kind, reward=0.5, duration_s=wall_s, execution=ran)


def watched(*stretches):
    watch, said = IdleWatch(), []
    for wall_s, cpu_s, count in stretches:
        said += [watch.observe([outcome(wall_s, cpu_s)] * 8) for _ in range(count // 8)]
    return [text for text in said if text]


def test_sleep_after_the_submission_is_named_once():
    (text,) = watched((5.0, 4.8, MEMORY), (60.0, 4.8, 3 * MEMORY))
    assert "duration_clock: cpu" in text


@pytest.mark.parametrize(
    "stretches",
    [
        [(5.0, 4.8, MEMORY), (300.0, 290.0, 3 * MEMORY)],  # heavier models
        [(5.0, 2.5, MEMORY), (5.0, 2.2, 3 * MEMORY)],  # a busy machine all the time
        [(0.05, 0.04, MEMORY), (0.05, 0.001, 3 * MEMORY)],  # too short to say
        [(5.0, 20.0, MEMORY), (5.0, 4.0, 3 * MEMORY)],  # fewer threads
        [(5.0, 4.8, MEMORY)],
    ],
)
def test_honest_programs_are_not_suspected(stretches):
    assert watched(*stretches) == []


def test_only_valid_programs_count():
    assert idle_share(outcome(10.0, 1.0)) == pytest.approx(0.9)
    assert idle_share(outcome(10.0, 1.0, "failure")) is None
    assert IdleWatch().observe([outcome(10.0, 1.0, "timeout")] * 1000) is None
