"""The OpenEnv server, asked by OpenEnv's own client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import pytest

from tests.support.solving import NumberSandbox
from tests.support.tasks import toy_task
from trl_mle import EpisodeBudget, LocalSandbox, MLESpec, RewardConfig
from trl_mle.errors import SandboxError
from trl_mle.exports.openenv_server import openenv_app

openenv = pytest.importorskip("openenv.core", reason="the extra openenv is not installed")

GOOD = """import pandas as pd
from sklearn.linear_model import LinearRegression
train, test = pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")
model = LinearRegression()
model.fit(train[["a", "b"]], train["y"])
test.assign(y=model.predict(test[["a", "b"]]))[["id", "y"]].to_csv("submission.csv", index=False)
"""


@contextlib.contextmanager
def serving(spec: MLESpec):
    """The URL of a server in a thread. It is stopped as a signal stops it."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(openenv_app(spec), port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def client(url):
    return openenv.GenericEnvClient(base_url=url, message_timeout_s=120.0)


@pytest.fixture
def toy(tmp_path):
    return toy_task(tmp_path)


def spec_of(toy, sandbox, **settings):
    return MLESpec([toy], sandbox=sandbox, budget=EpisodeBudget(runs=3), **settings)


async def test_an_episode_of_several_turns(toy):
    failure = RewardConfig().failure_reward
    with serving(spec_of(toy, NumberSandbox(fails_on=(9.0,)))) as url:
        async with client(url) as env:
            start = await env.reset(task="toy")
            assert "runs" in start.observation["text"] or "run_program" in start.observation["text"]
            assert start.observation["messages"][-1]["role"] == "user" and not start.done
            first = await env.step({"tool": "run_program", "code": "offset = 9"})
            assert not first.done and "bad offset 9.0" in first.observation["text"]
            second = await env.step({"tool": "run_program", "code": "offset = 0.3"})
            assert not second.done and second.reward > 5
            end = await env.step({"tool": "submit"})
            assert end.done and end.reward == 0 and end.observation["over"] == "submitted"
            state = await env.state()
            assert state["initial"] == failure and state["step_count"] == 3 and state["fault"] is None
            total = sum(result.reward for result in (first, second, end))
            assert total == pytest.approx(state["total"] - state["initial"])
            again = await env.step({"tool": "run_program", "code": "offset = 0.1"})
            assert again.done and again.reward == 0  # nothing can be gained after the end
            fresh = await env.reset(task="toy")
            assert not fresh.done and (await env.state())["step_count"] == 0


async def test_sessions_run_at_the_same_time_and_apart(toy):
    with serving(spec_of(toy, NumberSandbox())) as url:

        async def episode(offset):
            async with client(url) as env:
                await env.reset(seed=1)
                await env.step({"tool": "run_program", "code": f"offset = {offset}"})
                await env.step({"tool": "submit"})
                return (await env.state())["total"]

        totals = await asyncio.gather(*(episode(offset) for offset in (0.1, 0.5, 0.9)))
    assert totals[0] > totals[1] > totals[2]


async def test_the_budget_ends_an_episode(toy):
    with serving(spec_of(toy, NumberSandbox())) as url:
        async with client(url) as env:
            await env.reset()
            results = [await env.step({"code": f"offset = {number}"}) for number in range(1, 4)]
    assert [result.done for result in results] == [False, False, True]
    assert results[-1].observation["over"] == "runs"


async def test_a_fault_has_no_reward(toy):
    with serving(spec_of(toy, NumberSandbox(answers=[None, SandboxError("gone", may_have_started=True)]))) as url:
        async with client(url) as env:
            await env.reset()
            await env.step({"code": "offset = 0.3"})
            result = await env.step({"code": "offset = 0.1"})
            state = await env.state()
    assert result.done and result.reward is None and result.observation["over"] == "fault"
    assert state["total"] is None and "gone" in state["fault"]


async def test_nonsense_is_an_error_and_the_session_goes_on(toy):
    with serving(spec_of(toy, NumberSandbox())) as url:
        async with client(url) as env:
            with pytest.raises(Exception, match="reset"):
                await env.step({"tool": "submit"})
            for name in ("other", str(toy.folder), "builtin:digits", "hub:someone/theirs", ["toy"]):
                with pytest.raises(Exception, match=r"no task .* on this server; it has: toy"):
                    await env.reset(task=name)
            with pytest.raises(Exception, match="reset"):  # none of them was loaded
                await env.step({"tool": "submit"})
            await env.reset()
            for action in ({"tool": "rm"}, {"code": 3}, {"codes": "x"}):
                with pytest.raises(Exception, match="rror"):
                    await env.step(action)
            result = await env.step({"code": "\0"})
            assert not result.done and (await env.step({"code": "offset = 1"})).reward > 5


@pytest.mark.slow
async def test_in_the_sandbox(toy):
    with serving(spec_of(toy, LocalSandbox(workers=1))) as url:
        async with client(url) as env:
            await env.reset()
            result = await env.step({"code": GOOD})
            state = await env.state()
    assert "trained" in result.observation["text"].lower() and state["total"] > 0.5
