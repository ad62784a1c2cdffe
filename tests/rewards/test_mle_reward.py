"""MLEReward: the whole way in a real sandbox, and that the three kinds of failure never mix."""

from __future__ import annotations

import asyncio
import textwrap
from dataclasses import replace

import pytest

from tests.support.hang import HANG_S
from tests.support.sandbox_doubles import SandboxDouble, Scripted, execution
from tests.support.tasks import toy_task
from trl_mle import ASTInstrumenter, LocalSandbox, MLEReward, RewardConfig
from trl_mle.config import PoolConfig, SandboxConfig
from trl_mle.errors import ConfigError, GradingError, SandboxError, SandboxUnavailableError, TaskError
from trl_mle.sandboxes import SandboxPool
from trl_mle.types import MILESTONES

GOOD = """
import pandas as pd
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error

train = pd.read_csv("input/train.csv")
test = pd.read_csv("input/test.csv")
X, y = train[["a", "b"]], train["y"]
model = Ridge()
model.fit(X[:60], y[:60])
print("validation", mean_squared_error(y[60:], model.predict(X[60:])))
pd.DataFrame({"id": test["id"], "y": model.predict(test[["a", "b"]])}).to_csv("submission.csv", index=False)
"""


def answer(code, plan="Fit a line."):
    return [{"role": "assistant", "content": f"{plan}\n\n```python\n{textwrap.dedent(code).strip()}\n```"}]


class Log:
    def __init__(self):
        self.columns, self.metrics = {}, {}

    def extra(self, column, values):
        self.columns.setdefault(column, []).extend(values)

    def metric(self, name, value):
        self.metrics[name] = value


def score(reward, completions, *tasks):
    """Rewards and columns of completions for one task, or for one task each."""
    log = Log()

    async def call():
        try:
            return await reward(
                prompts=[""] * len(completions),
                completions=completions,
                task=[task.id for task in tasks] if len(tasks) > 1 else [tasks[0].id] * len(completions),
                log_extra=log.extra,
                log_metric=log.metric,
                trainer_state=None,
            )
        finally:
            if reward._loop is not None:
                await reward.sandbox.__aexit__(None, None, None)
                reward._loop = reward._opening = None

    return asyncio.run(call()), log


def test_the_whole_way_in_a_real_sandbox(tmp_path):
    task = toy_task(tmp_path)
    slow_and_hostile = 'import time\nprint("imported_libraries")\nwhile True:\n    time.sleep(0.05)'
    completions = [
        answer(GOOD),
        answer('import pandas as pd\ntrain = pd.read_csv("input/train.csv")\ntrain["nothing"]'),
        answer('import pandas as pd\npd.read_csv("train.csv")'),
        [{"role": "assistant", "content": "I cannot do this."}],
        answer("this is not Python"),
        answer(slow_and_hostile),
    ]
    # Only the program that never ends has a short limit.
    short = replace(task, id="short", time_limit_s=1.0)
    reward = MLEReward(
        sandbox=LocalSandbox(workers=1), tasks={"toy": replace(task, time_limit_s=HANG_S), "short": short}
    )
    rewards, log = score(reward, completions, *[task] * 5, short)
    assert log.columns["kind"] == ["valid", "failure", "failure", "failure", "failure", "timeout"]
    assert -1 <= rewards[0] <= 1
    assert log.columns["milestones"][0] == list(MILESTONES)
    assert log.columns["milestones"][1] == ["imported_libraries", "loaded_data"]
    assert log.columns["milestones"][2] == ["imported_libraries"]
    assert rewards[1:] == pytest.approx([-9.8, -9.9, -10.0, -10.0, -10.0])
    assert log.columns["extraction_reason"][3] == "no_code_block"
    seconds = log.columns["action_duration"]
    assert seconds[3] is None
    assert 0.9 < seconds[5] < HANG_S
    assert all(second > 0 for second in (seconds[0], seconds[1], seconds[2], seconds[4]))
    assert log.columns["action_censored"] == [False] * 5 + [True]
    assert log.columns["private_score"][0] is not None
    assert "validation" in log.columns["stdout"][0]
    assert all(len(values) == len(completions) for values in log.columns.values())
    assert log.metrics["programs/valid_share"] == pytest.approx(1 / 6)
    assert log.metrics["programs/timeout_share"] == pytest.approx(1 / 6)


@pytest.mark.parametrize(("may_have_started", "calls"), [(False, 3), (True, 1)])
def test_an_infrastructure_fault_is_none_after_its_retries(tmp_path, may_have_started, calls):
    task = toy_task(tmp_path)
    sandbox = Scripted(SandboxError("worker lost", may_have_started=may_have_started))
    reward = MLEReward(sandbox=sandbox, tasks={task.id: task}, reward=RewardConfig(infrastructure_retries=2))
    rewards, log = score(reward, [answer(GOOD)], task)
    assert rewards == [None]
    assert sandbox.calls == calls, "a program that may have started is not run again"
    assert log.columns["kind"] == ["fault"]
    assert "worker lost" in log.columns["fault"][0]
    assert log.columns["action_duration"] == [None]
    assert log.metrics["programs/fault_share"] == 1.0
    assert log.metrics["sandbox/retried"] == calls - 1
    assert log.metrics["sandbox/fault/may_have_started"] == float(may_have_started)
    assert log.metrics["sandbox/fault/not_started"] == float(not may_have_started)


def test_a_fault_that_passes_is_not_seen(tmp_path):
    task = toy_task(tmp_path)
    sandbox = Scripted(SandboxError("no worker", may_have_started=False), execution(exit_code=1, status="error"))
    rewards, log = score(MLEReward(sandbox=sandbox, tasks={task.id: task}), [answer(GOOD)], task)
    assert log.columns["kind"] == ["failure"]
    assert rewards == [-10.0]


def test_a_bug_of_the_grader_is_a_fault_and_not_the_policys(tmp_path, monkeypatch):
    task = toy_task(tmp_path)

    def broken(self, submission, split="public"):
        raise GradingError("the metric failed")

    monkeypatch.setattr(type(task), "grade", broken)
    sandbox = Scripted(execution(submission=b"id,y\n"))
    rewards, log = score(MLEReward(sandbox=sandbox, tasks={task.id: task}), [answer(GOOD)], task)
    assert rewards == [None]
    assert "the metric failed" in log.columns["fault"][0]
    assert sandbox.calls == 1, "a program is not run again because grading failed"


def test_a_bug_of_ours_costs_its_own_row(tmp_path):
    task = toy_task(tmp_path)
    sandbox = Scripted(RuntimeError("a bug"), execution(status="error", exit_code=1))
    rewards, log = score(MLEReward(sandbox=sandbox, tasks={task.id: task}), [answer(GOOD), answer(GOOD)], task)
    assert sorted(log.columns["kind"]) == ["failure", "fault"]
    assert rewards.count(None) == 1


def test_a_sandbox_that_cannot_work_here_stops_the_run(tmp_path):
    task = toy_task(tmp_path)
    reward = MLEReward(sandbox=Scripted(SandboxUnavailableError("no Landlock")), tasks={task.id: task})
    with pytest.raises(SandboxUnavailableError, match="no Landlock"):
        score(reward, [answer(GOOD)], task)


def test_nothing_scorable_for_some_batches_stops_the_run(tmp_path):
    task = toy_task(tmp_path)
    settings = RewardConfig(infrastructure_retries=0)
    reward = MLEReward(sandbox=Scripted(SandboxError("down")), tasks={task.id: task}, reward=settings)
    for _ in range(2):
        assert score(reward, [answer(GOOD)] * 2, task)[0] == [None, None]
    with pytest.raises(SandboxError, match=r"last 3 batches.*down"):
        score(reward, [answer(GOOD)] * 2, task)


@pytest.mark.parametrize("status", ["timeout", "memory", "output", "killed"])
def test_a_stopped_program_is_not_graded(tmp_path, status):
    task = toy_task(tmp_path)
    stopped = execution(
        status=status, exit_code=None, submission=task.public_dir.joinpath("sample_submission.csv").read_bytes()
    )
    rewards, log = score(MLEReward(sandbox=Scripted(stopped), tasks={task.id: task}), [answer(GOOD)], task)
    assert rewards == [-10.0]
    assert log.columns["kind"] == ["timeout" if status == "timeout" else "failure"]


def test_a_dataset_without_tasks_is_named(tmp_path):
    with pytest.raises(TaskError, match="no column `task`"):
        asyncio.run(MLEReward(sandbox=Scripted())(prompts=[""], completions=["x"]))


def test_an_unknown_task_is_named():
    with pytest.raises(TaskError, match="builtin:nothing"):
        MLEReward(sandbox=Scripted()).task("builtin:nothing")


def test_forged_marks_do_not_pay(tmp_path):
    task = toy_task(tmp_path)
    forged = "\n".join(f"print('{name}'); print('{'0' * 32}:{name}')" for name in MILESTONES)
    sandbox = LocalSandbox(SandboxConfig(workers=1, preload=()))
    reward = MLEReward(sandbox=sandbox, tasks={task.id: task})
    rewards, log = score(reward, [answer(forged)], task)
    assert log.columns["milestones"] == [[]]
    assert rewards == [-10.0]


def test_the_reward_rises_with_the_stage_at_which_a_program_fails(tmp_path):
    task = toy_task(tmp_path)
    stages = {
        "importing": ("import pandas as pd", "import pandas as pd\nimport no_such_library"),
        "loading": ('pd.read_csv("input/train.csv")', 'pd.read_csv("train.csv")'),
        "building": ('train[["a", "b"]], train["y"]', 'train[["a", "no_such_column"]], train["y"]'),
        "defining": ("model = Ridge()", "model = Ridge(no_such_parameter=1)"),
        "training": ("model.fit(X[:60], y[:60])", "model.fit(X[:60], y[:50])"),
        "predicting": ("model.predict(X[60:])", "model.predict(X[60:, :])"),
        "writing": ('to_csv("submission.csv", index=False)', 'to_csv("no/such/folder/submission.csv", index=False)'),
        "form": ('"y": model.predict', '"target": model.predict'),
    }
    for right, wrong in stages.values():
        assert GOOD.count(right) == 1
        assert wrong not in GOOD
    completions = [answer(GOOD.replace(*change)) for change in stages.values()]
    reward = MLEReward(sandbox=LocalSandbox(workers=1), tasks={task.id: task})
    rewards, log = score(reward, [*completions, answer(GOOD)], task)
    assert log.columns["kind"] == ["failure"] * len(stages) + ["valid"]
    assert rewards == sorted(set(rewards))  # strictly
    assert rewards[: len(stages)] == pytest.approx([-10 + 0.1 * number for number in range(len(stages))])


def test_it_travels_to_another_process_before_its_first_use(tmp_path):
    """Asynchronous rollouts score in a child process."""
    import pickle

    task = toy_task(tmp_path)
    copy = pickle.loads(pickle.dumps(MLEReward(tasks={"toy": task}, wall_s=3.0)))
    assert copy.task("toy").id == task.id
    assert copy.wall_s == 3.0


async def test_what_it_was_made_of_can_be_read_and_replaced(tmp_path):
    class Mine:
        def instrument(self, program, nonce):
            return ASTInstrumenter().instrument(program, nonce)

    mine, task = Mine(), toy_task(tmp_path)
    reward = MLEReward(instrumenter=mine)
    assert reward.instrumenter is mine
    reward.instrumenter = other = Mine()
    assert reward.instrumenter is reward.scorer.instrumenter is other
    sandbox = Scripted(execution())
    reward.sandbox = sandbox
    assert isinstance(reward.sandbox, SandboxPool)
    reward.config = RewardConfig(failure_reward=-5.0, milestone_reward=0.0)
    reward.wall_s, reward.memory_bytes = 4.0, 5 * 1024**2
    limits = reward.scorer.limits_for(task)
    assert (limits.wall_s, limits.memory_bytes) == (4.0, 5 * 1024**2)
    outcome = await reward.score(answer("print(1)"), task)
    assert outcome.reward == -5.0
    assert outcome.instrumented is not None
    assert sandbox.calls == 1
    await reward.aclose()


async def test_a_run_of_single_faults_is_not_an_outage_until_it_is_long(tmp_path):
    """With `overlap_execution` a batch is one completion."""

    class Broken(SandboxDouble):
        async def run(self, code, task, limits=None, **options):
            raise SandboxError("gone")

    patient = PoolConfig(retries=0, failures=100)  # the pool's own patience is longer than that of the reward
    reward = MLEReward(sandbox=SandboxPool(Broken(), patient), tasks={"toy": toy_task(tmp_path)})
    completion = "```python\nprint(1)\n```"
    for _ in range(15):
        assert await reward(["p"], [completion], task=["toy"]) == [None]
    with pytest.raises(SandboxError, match="last 16 batches"):
        await reward(["p"], [completion], task=["toy"])


@pytest.mark.parametrize("fault", [SandboxError("the folder could not be removed"), None])
def test_a_sandbox_that_cannot_be_closed_is_logged(tmp_path, caplog, fault):
    """Whoever closes it has a trained model to save."""

    class Sticky(Scripted):
        async def __aexit__(self, *args):
            if fault is not None:
                raise fault
            await asyncio.sleep(60)

    task = toy_task(tmp_path)
    reward = MLEReward(sandbox=Sticky(execution()), tasks={"toy": task}, close_s=0.1)

    async def go():
        await reward(["p"], ["```python\nprint(1)\n```"], task=["toy"])
        await asyncio.to_thread(reward.close)
        await reward.aclose()  # twice is no error

    asyncio.run(go())
    assert "closed" in caplog.text
    reward.close()


def test_calls_that_come_while_the_sandbox_opens_wait_for_it(tmp_path):
    """With `overlap_execution` every completion is a call of its own."""
    task = toy_task(tmp_path)

    may_open = asyncio.Event()

    class Slow(Scripted):
        opened = closed = 0

        async def __aenter__(self):
            self.opened += 1
            await may_open.wait()
            return self

        async def __aexit__(self, *args):
            self.closed += 1

    sandbox = Slow(execution())
    reward = MLEReward(sandbox=sandbox, tasks={"toy": task})

    async def calls():
        tasks = [asyncio.create_task(reward([""], ["```python\nprint(1)\n```"], task=["toy"])) for _ in range(3)]
        while not sandbox.opened:
            await asyncio.sleep(0.01)
        tasks[0].cancel()  # given up before its sandbox was open
        may_open.set()
        await asyncio.wait(tasks)
        assert [task.cancelled() for task in tasks] == [True, False, False]
        closing = asyncio.to_thread(reward.close)
        await asyncio.wait_for(closing, HANG_S)
        return [task.result() for task in tasks[1:]]

    assert all(len(rewards) == 1 for rewards in asyncio.run(calls()))
    assert (sandbox.opened, sandbox.closed) == (1, 1)


def test_the_limits_of_the_sandbox_hold(tmp_path):
    """A program gets the limits of the sandbox that it runs in, unless the reward function has its own."""
    task = toy_task(tmp_path)
    sleeper = answer("import time\nprint('before', flush=True)\ntime.sleep(30)")
    reward = MLEReward(sandbox=LocalSandbox(SandboxConfig(workers=1, wall_s=1.0, preload=())), tasks={task.id: task})
    _, log = score(reward, [sleeper], task)
    assert log.columns["kind"] == ["timeout"]
    assert log.columns["action_duration"][0] < 10


@pytest.mark.parametrize(
    ("sandbox_limits", "own", "expected"),
    [
        ((None, None), {}, (20.0, 2 * 1024**3)),  # the task's
        ((5.0, 100 * 1024**2), {}, (5.0, 100 * 1024**2)),
        ((5.0, 100 * 1024**2), {"wall_s": 3.0}, (3.0, 100 * 1024**2)),
        ((5.0, None), {"memory_bytes": 10**8}, (5.0, 10**8)),
    ],
)
def test_limits_come_from_the_reward_then_the_sandbox_then_the_task(tmp_path, sandbox_limits, own, expected):
    task = toy_task(tmp_path)
    sandbox = Scripted(execution())
    sandbox.wall_s, sandbox.memory_bytes = sandbox_limits
    score(MLEReward(sandbox=sandbox, tasks={task.id: task}, **own), [answer("print(1)")], task)
    (limits,) = sandbox.limits
    assert (limits.wall_s, limits.memory_bytes) == expected
    assert limits.threads == task.threads


@pytest.mark.parametrize("split_up", [False, True])
def test_what_a_row_says_of_its_prompt_is_kept_with_the_outcome(tmp_path, split_up):
    task, log = toy_task(tmp_path), Log()
    said = {
        "prompt_kind": ["improve", "scratch"], "parent_id": [7, None], "parent_score": [0.25, None],
        "lineage_depth": [2, 0],
    }  # fmt: skip
    reward = MLEReward(Scripted(execution("error", exit_code=1)), tasks={task.id: task})
    batch = {
        "prompts": ["", ""],
        "completions": [answer(GOOD)] * 2,
        "task": [task.id] * 2,
        "log_extra": log.extra,
        **said,
    }

    async def call():
        await asyncio.gather(*(function(**batch) for function in (reward.parts() if split_up else [reward])))
        await reward.aclose()

    asyncio.run(call())
    assert {name: log.columns[name] for name in said} == said


def test_a_list_of_tasks_is_an_error_that_says_what_to_write():
    with pytest.raises(ConfigError, match="`tasks` is a list; it maps ids to tasks"):
        MLEReward(SandboxDouble(), tasks=["builtin:digits"])
