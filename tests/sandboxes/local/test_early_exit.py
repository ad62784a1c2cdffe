"""Early exit in the sandbox: a hopeless program is a time-out, and being stopped early never pays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trl_mle.errors import ConfigError

pytestmark = pytest.mark.asyncio(loop_scope="module")

SLOW = """
import select
for step in range(1, {total} + 1):
    select.select([], [], [], 0.02)
    print(f"epoch {{step}}/{total}", flush=True)
open("submission.csv", "w").write("id,y\\n")
"""


async def test_a_hopeless_program_is_a_time_out_of_full_length(bare, task, limits):
    execution = await bare.run(SLOW.format(total=1_000_000), task, replace(limits, wall_s=10.0, early_exit=3.0))
    assert execution.status == "timeout"
    assert "its printed progress shows" in execution.stderr
    # It pays no less than a time-out: neither in wall-clock time nor in CPU time, of which it used little.
    assert execution.wall_s == pytest.approx(10.0)
    assert execution.cpu_s > 2.0


async def test_a_program_that_finishes_is_left_alone(bare, task, limits):
    execution = await bare.run(SLOW.format(total=60), task, replace(limits, early_exit=1.0))
    assert execution.status == "ok"
    assert execution.submission


@pytest.mark.parametrize("value", [-1, 0.5, float("inf"), float("nan"), "3"])
async def test_an_impossible_factor_is_named(bare, task, limits, value):
    with pytest.raises(ConfigError, match=r"`limits\.early_exit` is"):
        await bare.run("pass", task, replace(limits, early_exit=value))
