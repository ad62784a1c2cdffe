"""LLMInstrumenter under MLEReward: overlap, metrics, columns, settings."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from tests.rewards.test_mle_reward import GOOD, answer, score
from tests.support.hang import HANG_S
from tests.support.openai_server import completion, serve, status
from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from trl_mle import ASTInstrumenter, InstrumentationConfig, LLMInstrumenter, LocalSandbox, MLEReward
from trl_mle.instrumentation import fallbacks
from trl_mle.reports import report_run
from trl_mle.types import InstrumentedProgram

CODE = GOOD.replace('print("validation", mean_squared_error(y[60:], model.predict(X[60:])))',
                    "val_mse = mean_squared_error(y[60:], model.predict(X[60:]))")  # fmt: skip
ANSWER = """imported_libraries: 3
loaded_data: 5
built_features: 7
defined_model: 8
trained_model: 9
evaluated_model: 10
wrote_predictions: 11
training_loss: none
training_score: none
validation_score: 10 val_mse
"""


def llm(url, **settings):
    return LLMInstrumenter(endpoint=url, model="m", cache_dir="none", **settings)


def test_a_program_starts_although_the_instrumentation_of_another_hangs(tmp_path):
    task = toy_task(tmp_path)
    started = asyncio.Event()

    class Waiting:
        async def instrument(self, program, nonce):
            if "first" in program.code:
                await asyncio.wait_for(started.wait(), HANG_S)
            return InstrumentedProgram(program.code, program, nonce)

    class Sandbox(Scripted):
        async def run(self, code, task, limits=None, **kwargs):
            if "second" in code:
                started.set()
            return await super().run(code, task, limits)

    sandbox = Sandbox(execution(status="error", exit_code=1))
    reward = MLEReward(sandbox=sandbox, instrumenter=Waiting(), tasks={task.id: task})
    rewards, log = score(reward, [answer("first = 1"), answer("second = 2")], task)
    assert rewards == [-10.0, -10.0]
    assert log.columns["kind"] == ["failure", "failure"]


def test_instrumentation_does_not_hold_up_the_event_loop(tmp_path):
    """The loop goes on while two programs are being instrumented: they wait for what only the loop does."""
    task = toy_task(tmp_path)
    both_wait, loop_went_on, held_up = threading.Semaphore(0), threading.Event(), []

    class Slow(ASTInstrumenter):
        def instrument(self, program, nonce):
            both_wait.release()
            held_up.append(not loop_went_on.wait(HANG_S))
            return super().instrument(program, nonce)

    class Sandbox(Scripted):
        async def __aenter__(self):
            self.beat = asyncio.create_task(self.beats())
            return self

        async def beats(self):
            for _ in range(2):
                while not both_wait.acquire(blocking=False):
                    await asyncio.sleep(0.01)
            loop_went_on.set()

        async def __aexit__(self, *exc_info):
            self.beat.cancel()

    sandbox = Sandbox(execution(status="error", exit_code=1))
    reward = MLEReward(sandbox=sandbox, instrumenter=Slow(), tasks={task.id: task})
    rewards, _ = score(reward, [answer("x = 1")] * 2, task)
    assert rewards == [-10.0, -10.0]
    assert held_up == [False, False]


def test_the_whole_way_with_a_model(tmp_path):
    pytest.importorskip("openai")
    task = toy_task(tmp_path)
    with serve(completion(ANSWER)) as (url, _):
        reward = MLEReward(sandbox=LocalSandbox(workers=1), instrumenter=llm(url), tasks={task.id: task})
        _, log = score(reward, [answer(CODE), answer("this is no program")], task)
    assert log.columns["kind"] == ["valid", "failure"]
    assert len(log.columns["milestones"][0]) == 7
    assert 0 < log.columns["metric_validation_score"][0] < 1
    assert log.columns["metric_training_loss"] == [None, None]
    assert log.columns["metric_validation_score"][1] is None
    assert "[[trl_mle" not in log.columns["stdout"][0]
    assert log.columns["instrumentation_fallback_kind"] == [None, "not_parsed"]
    assert log.metrics["instrumentation/fallback_share"] == 0.5
    assert log.metrics["instrumentation/reason/not_parsed"] == 0.5
    assert log.metrics["instrumentation/reason/llm_code_deleted"] == 0.0
    assert log.metrics["instrumentation/requests"] == 1
    assert log.metrics["instrumentation/claims_kept"] == 8
    assert {name.split("/")[-1] for name in log.metrics if "/reason/" in name} == set(fallbacks.FALLBACK_KINDS)


def test_an_endpoint_that_is_down_stops_nothing(tmp_path):
    pytest.importorskip("openai")
    task = toy_task(tmp_path)
    with serve(status(401)) as (url, _):
        reward = MLEReward(sandbox=LocalSandbox(workers=1), instrumenter=llm(url), tasks={task.id: task})
        _, log = score(reward, [answer(CODE)], task)
    assert log.columns["kind"] == ["valid"]
    assert len(log.columns["milestones"][0]) == 7, "by the syntax tree"
    assert log.columns["instrumentation_fallback"][0].startswith("llm: HTTP 401")
    assert log.metrics["instrumentation/fallback_share"] == 1.0
    assert log.metrics["instrumentation/reason/llm_unavailable"] == 1.0


def test_without_a_model_only_its_own_reasons_are_logged(tmp_path):
    task = toy_task(tmp_path)
    sandbox = Scripted(execution(status="error", exit_code=1))
    _, log = score(MLEReward(sandbox=sandbox, tasks={task.id: task}), [answer(CODE), answer("pass")], task)
    assert log.metrics["instrumentation/fallback_share"] == 0.5
    assert log.metrics["instrumentation/reason/no_milestone"] == 0.5
    assert not any("llm" in name for name in log.metrics)


def test_a_program_can_claim_no_metric_that_was_not_inserted(tmp_path):
    """A program that learns the nonce can still report only the metrics that the instrumenter inserted."""
    from trl_mle.instrumentation.marks import metric_prefix

    task = toy_task(tmp_path)

    class Leaking:
        def instrument(self, program, nonce):
            sandbox.answers = [execution(stdout=metric_prefix(nonce, "validation_score") + "1.0]]\n")]
            return InstrumentedProgram(program.code, program, nonce, metrics=("training_loss",))

    sandbox = Scripted()
    _, log = score(MLEReward(sandbox=sandbox, instrumenter=Leaking(), tasks={task.id: task}), [answer("pass")], task)
    assert log.columns["metric_validation_score"] == [None]
    assert log.columns["stdout"] == [""]


def test_the_report_shows_what_the_best_program_said_of_itself(tmp_path, capsys):
    import pandas as pd

    task = toy_task(tmp_path)
    row = {"kind": "valid", "mle_reward": 0.5, "public_score": 1.0, "private_score": 1.1, "action_duration": 1.0,
           "program": "pass", "task_id": "toy", "milestones": ["imported_libraries"], "step": 0,
           "metric_validation_score": 0.75, "metric_training_loss": None}  # fmt: skip
    (tmp_path / "run/rollouts").mkdir(parents=True)
    pd.DataFrame([row]).to_parquet(tmp_path / "run/rollouts/train_000000_00.parquet")
    report_run(tmp_path / "run", {"toy": task})
    assert "0.75" in capsys.readouterr().out
    best = json.loads((tmp_path / "run/best/toy/best.json").read_text())
    assert best["metrics"] == {"validation_score": 0.75}


# Settings


def parse(tmp_path, text):
    from trl import TrlParser

    from trl_mle.scripts.arguments import MLEArguments

    path = tmp_path / "config.yaml"
    path.write_text("tasks: [builtin:digits]\n" + text)
    (arguments,) = TrlParser((MLEArguments,)).parse_args_and_config(["--config", str(path)])
    return arguments.instrumentation_config()


def test_a_recipe_chooses_the_instrumenter(tmp_path):
    assert parse(tmp_path, "") == InstrumentationConfig()
    chosen = parse(
        tmp_path,
        "instrumenter: llm\ninstrumenter_endpoint: http://127.0.0.1:8001/v1\ninstrumenter_model: m\n"
        "instrumenter_key_variable: MY_KEY\ninstrumenter_answer_format: rewrite\ninstrumenter_concurrency: 4\n"
        "instrumenter_request_timeout_s: 5\ninstrumenter_wait_s: 9\ninstrumenter_cache_dir: none\n",
    )
    assert chosen == InstrumentationConfig(
        instrumenter="llm",
        endpoint="http://127.0.0.1:8001/v1",
        model="m",
        api_key_variable="MY_KEY",
        answer_format="rewrite",
        concurrency=4,
        request_timeout_s=5.0,
        wait_s=9.0,
        cache_dir="none",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instrumenter: gpt\n", "'ast' or 'llm'"),
        ("instrumenter: llm\ninstrumenter_endpoint: localhost:8001\n", "http://127.0.0.1:8001/v1"),
        ("instrumenter: llm\ninstrumenter_key_variable: sk-123\n", "never the key itself"),
        ("instrumenter_answer_format: xml\n", "'lines' or 'rewrite'"),
    ],
)
def test_wrong_settings_of_a_recipe_name_the_fix(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        parse(tmp_path, text)


def test_the_settings_make_the_instrumenter(tmp_path):
    pytest.importorskip("openai")
    from trl_mle.scripts.build import make_instrumenter

    assert isinstance(make_instrumenter(InstrumentationConfig()), ASTInstrumenter)
    config = InstrumentationConfig(instrumenter="llm", endpoint="http://127.0.0.1:1/v1", cache_dir="none")
    made = make_instrumenter(config)
    assert isinstance(made, LLMInstrumenter)
    assert made.config is config


# A model in this process


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from tests.support.tiny import save_chat_model

    return save_chat_model(tmp_path_factory.mktemp("model"))


def test_a_model_in_this_process_answers(model):
    from trl_mle.instrumentation import new_nonce
    from trl_mle.scripts.build import make_instrumenter
    from trl_mle.types import Program

    config = InstrumentationConfig(instrumenter="llm", model=model, cache_dir="none", max_tokens=12)
    made = make_instrumenter(config)

    async def some():
        calls = (made.instrument(Program("", CODE + f"x = {number}\n"), new_nonce()) for number in range(10))
        results = await asyncio.gather(*calls)
        await made.aclose()
        return results

    results = asyncio.run(some())
    assert all(result.fallback_kind.startswith("llm_") for result in results), "it is a random model"
    assert not any(result.fallback_kind in ("llm_error", "llm_unavailable") for result in results)
    assert made.take_metrics()["instrumentation/requests"] == 10
