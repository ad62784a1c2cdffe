"""Faults and time-outs of the real sandbox, in an episode."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.rewards.test_mle_reward import GOOD
from tests.support.hang import HANG_S
from tests.support.local_sandbox import until_file, worker_of
from tests.support.tasks import toy_task
from trl_mle import EpisodeBudget, LocalSandbox, MLESpec

pytestmark = pytest.mark.slow

ENDLESS = 'open("begun", "w")\nwhile True:\n    pass'


async def test_a_worker_that_is_killed_and_a_program_that_never_ends(tmp_path):
    task = replace(toy_task(tmp_path), time_limit_s=HANG_S)
    sandbox = LocalSandbox(workers=1)
    spec = MLESpec({"toy": task}, budget=EpisodeBudget(seconds=HANG_S), sandbox=sandbox)
    lost = spec.environment_factory()
    late = type(lost)(spec.mle_reward, EpisodeBudget(runs=9, seconds=1.5))
    try:
        late.reset(task="toy")
        text = await late.run_program(ENDLESS)
        assert "stopped at its time limit" in text
        assert late.episode.turns[0].is_censored
        assert "Left: 8 programs and 0.00 s." in text
        assert "No time is left" in await late.run_program(GOOD)
        assert late.get_reward() == -10

        lost.reset(task="toy")
        assert "valid submission" in await lost.run_program(GOOD)
        running = asyncio.create_task(lost.run_program(ENDLESS))
        await until_file(sandbox, "begun")
        worker_of(sandbox).kill()
        async with asyncio.timeout(HANG_S):
            assert "fault of the machine" in await running
        assert lost.get_reward() is None
        assert "has ended" in await lost.submit()

        lost.reset(task="toy")
        assert "valid submission" in await lost.run_program(GOOD), "the next rollout has a worker again"
        assert -1 <= lost.get_reward() <= 1
    finally:
        await spec.aclose()
