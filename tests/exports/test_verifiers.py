"""The taskset of verifiers, run by verifiers itself: its environment, its harness, its tool servers and its traces.

The model is a server on the loopback that answers with tool calls from a list.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.tasks import toy_task
from trl_mle import RewardConfig
from trl_mle.errors import InfrastructureError

vf = pytest.importorskip("verifiers.v1", reason="the extra verifiers is not installed")

from verifiers.v1.utils.loaders import load_environment, load_taskset, resolve_env_config  # noqa: E402

GOOD = """import pandas as pd
from sklearn.linear_model import LinearRegression
train, test = pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")
model = LinearRegression()
model.fit(train[["a", "b"]], train["y"])
test.assign(y=model.predict(test[["a", "b"]]))[["id", "y"]].to_csv("submission.csv", index=False)
"""
RUN = ("run_program", {"code": GOOD})
BROKEN = ("run_program", {"code": "1 / 0"})
SUBMIT = ("submit", {})


@pytest.fixture
def toy(tmp_path):
    return toy_task(tmp_path)


def config_of(toy, **settings):
    taskset = {"id": "trl-mle-verifiers", "tasks": [str(toy.folder)], "runs": 3, "workers": 1, **settings}
    return resolve_env_config({"taskset": taskset, "agent": {"runtime": {"type": "subprocess"}}})


def test_the_taskset_is_found_by_its_name(toy):
    config = config_of(toy)
    tasks = list(load_taskset(config.taskset))
    (task,) = tasks
    assert task.data.task == str(toy.folder) or task.data.task == "toy"
    assert "3" in task.data.prompt and "run_program" in task.data.prompt and task.data.system_prompt
    assert "answers.csv" not in json.dumps(task.data.model_dump(mode="json"))
    environment = load_environment(config)
    harness = environment.config.agent_harnesses()["agent"]
    assert type(environment._harnesses["agent"]).__name__ == "MLEHarness" and harness.id == "trl-mle-verifiers"


def state(**changes):
    from trl_mle.exports.verifiers_taskset.state import MLEState

    return type("Trace", (), {"state": MLEState(**changes)})()


async def test_a_fault_is_an_error_and_no_reward(toy):
    (task,) = load_taskset(config_of(toy).taskset)
    with pytest.raises(InfrastructureError, match="gone"):
        await task.score_of_episode(state(fault="gone", value=None, calls=1))
    assert await task.score_of_episode(state(value=0.5, calls=2)) == 0.5
    assert await task.score_of_episode(state()) == RewardConfig().failure_reward


@pytest.mark.parametrize(
    ("changes", "turns", "over"),
    [
        ({}, 1, False),
        ({"over": "submitted"}, 1, True),
        ({"over": "runs"}, 4, True),
        ({"over": "fault"}, 1, True),
        ({}, 20, True),
    ],
)
async def test_when_a_rollout_ends(toy, changes, turns, over):
    (task,) = load_taskset(config_of(toy).taskset)
    trace = state(**changes)
    trace.num_turns = turns
    assert await task.is_over(trace) is over


@contextmanager
def model_with(*messages):
    """The URL of a model that answers each request with the next message: a tool call, or a text."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(request)
            answered = sum(message["role"] == "assistant" for message in request["messages"])
            reply = messages[min(answered, len(messages) - 1)]
            message = {"role": "assistant", "content": reply if isinstance(reply, str) else None}
            if not isinstance(reply, str):
                name, arguments = reply
                function = {"name": name, "arguments": json.dumps(arguments)}
                message["tool_calls"] = [{"id": f"call{answered}", "type": "function", "function": function}]
            finish = "stop" if isinstance(reply, str) else "tool_calls"
            usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
            whole = {"id": "c", "created": 0, "model": "m", "usage": usage}
            if request.get("stream"):
                for call in message.get("tool_calls", []):
                    call["index"] = 0
                parts = [
                    {"index": 0, "delta": message, "finish_reason": None},
                    {"index": 0, "delta": {}, "finish_reason": finish},
                ]
                chunks = [whole | {"object": "chat.completion.chunk", "choices": [part]} for part in parts]
                body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"
            else:
                choice = {"index": 0, "message": message, "finish_reason": finish}
                body = json.dumps(whole | {"object": "chat.completion", "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if request.get("stream") else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()


def can_prepare_harness() -> bool:
    """Whether uv is there and gets the packages that the harness's own script asks for."""
    uv = shutil.which("uv")
    if uv is None:
        return False
    command = [uv, "pip", "install", "--dry-run", "--no-config", "--target", "/nonexistent", "mcp==2.0.0"]
    return subprocess.run(command, capture_output=True).returncode == 0


async def rollouts(toy, count, *messages, **settings):
    """The traces of `count` rollouts at the same time."""
    from verifiers.v1.clients import EvalClientConfig, ModelContext

    environment = load_environment(config_of(toy, **settings))
    with model_with(*messages) as (url, requests):
        os.environ.setdefault("TRL_MLE_TEST_KEY", "none")
        client = EvalClientConfig(base_url=url, api_key_var="TRL_MLE_TEST_KEY")
        context = ModelContext(model="m", client=client, sampling=vf.SamplingConfig())
        async with environment.serving():
            (task,) = environment.taskset
            import asyncio

            slots = environment.slots(task, count)
            episodes = await asyncio.gather(*(environment.run_slot(slot, context) for slot in slots))
    return [trace for episode in episodes for trace in episode.traces], requests


@pytest.mark.slow
async def test_rollouts_through_the_harness(toy):
    if not can_prepare_harness():
        pytest.skip("uv, or an index from which it gets the packages of verifiers' chat program, is missing")
    traces, requests = await rollouts(toy, 2, BROKEN, RUN, SUBMIT, "done")
    for trace in traces:
        assert trace.ok, trace.errors
        assert trace.reward > 0.5 and trace.metrics["programs"] == 2 and trace.metrics["valid_submission"] == 1
        assert trace.state.over == "submitted" and trace.state.calls == 3
    names = {tool["function"]["name"] for tool in requests[0]["tools"]}
    assert names == {"run_program", "submit"}  # no shell
    answers = [message["content"] for message in requests[-1]["messages"] if message["role"] == "tool"]
    assert any("ZeroDivisionError" in json.dumps(answer) for answer in answers)


@pytest.mark.slow
async def test_an_agent_that_calls_in_vain_comes_to_an_end(toy):
    if not can_prepare_harness():
        pytest.skip("uv, or an index from which it gets the packages of verifiers' chat program, is missing")
    traces, requests = await rollouts(toy, 1, SUBMIT, runs=1)
    assert traces[0].ok and traces[0].reward == RewardConfig().failure_reward
    assert len(requests) <= 13 and traces[0].state.calls <= 12


@pytest.mark.slow
async def test_without_a_tool_call_the_reward_is_the_failure_penalty(toy):
    if not can_prepare_harness():
        pytest.skip("uv, or an index from which it gets the packages of verifiers' chat program, is missing")
    traces, _ = await rollouts(toy, 1, "I would rather talk.")
    assert traces[0].ok and traces[0].reward == RewardConfig().failure_reward
