"""TRL's own rollout loop under pacing, in one process: a policy that answers at once, programs that take their time, a learner."""

from __future__ import annotations

import asyncio
import pickle
import queue
import random
import sys
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from accelerate import PartialState
from transformers import TrainerControl, TrainerState

from tests.support.async_worker import async_trainer, sample
from tests.support.hang import HANG_S
from trl_mle.errors import ConfigError
from trl_mle.training.async_grpo.pacing import PacingSettings
from trl_mle.training.async_grpo.rollouts import CountingQueue, DurationRolloutLoop, LoopTiming, PaceRollouts
from trl_mle.training.async_grpo.trl_imports import AsyncRolloutLoop

WORKER = sys.modules[AsyncRolloutLoop.__module__]
GROUP, UPDATE, UPDATES = 4, 8, 12


@pytest.fixture(autouse=True)
def state():
    """The logger of accelerate works only where there is a state, whichever test runs first."""
    PartialState()


class Programs:
    """A reward function whose programs take a moment each; the first one ends a moment after `until` is there."""

    __name__ = "programs"

    def __init__(self, version, until):
        self.version, self.until = version, until
        self.random = random.Random(0)
        self.groups = 0

    async def __call__(self, completions, log_extra, **kwargs):
        self.groups += 1
        group, began = self.groups, time.monotonic()
        seconds = [self.random.uniform(0.0, 0.01) for _ in completions]
        while group == 1 and self.version.value < self.until:
            await asyncio.sleep(0.005)
        await asyncio.sleep(max(seconds))
        if group == 1:
            seconds[0] = time.monotonic() - began
        log_extra("action_duration", seconds)
        return [None if group == 3 else float(len(completions))] * len(completions)


async def answer(self, prompt, tool_dict, tools, group_id=0):
    """What TRL's `_generate_one` returns, for a policy that writes one token at once."""
    sequence = WORKER.TrainingSequence([1, 2], [0, 1], [0.0, -1.0], "r")
    return [{"role": "assistant", "content": "c"}], [2], [sequence], 0, 0, None


def run(monkeypatch, pacing, until=3):
    """Ages of the samples at the version that trains on them, the samples that were taken, and those that are left."""
    monkeypatch.setattr(AsyncRolloutLoop, "_generate_one", answer)
    # There is no server to talk to, so it does not matter whether aiohttp is installed.
    http = SimpleNamespace(ClientSession=lambda **kwargs: nullcontext(), TCPConnector=lambda **kwargs: None)
    monkeypatch.setattr(WORKER, "aiohttp", http, raising=False)
    version, taken, ages = SimpleNamespace(value=1), [], []
    loop = DurationRolloutLoop(
        model_name="m", dataset=[{"prompt": [{"role": "user", "content": "p"}]}], 
        reward_funcs=[Programs(version, until)],
        processing_class=SimpleNamespace(response_template="x", pad_token_id=0), eos_token_ids=[1],
        rollout_buffer=queue.Queue(),
        model_version_value=version, heartbeat_value=SimpleNamespace(value=0.0), failed_event=threading.Event(),
        exception_info_queue=queue.Queue(), metrics_queue=queue.Queue(), num_generations=GROUP,
        max_inflight_tasks=64, pacing=pacing,
    )  # fmt: skip
    loop.timing = LoopTiming(stop_s=0.1, poll_s=0.005, wait_warning_s=0.0)

    async def learner(buffer):
        micro = UPDATE // 2
        for _ in range(UPDATES):
            # It takes one micro-batch ahead.
            while len(taken) + buffer.qsize() < UPDATE * version.value + micro:
                await asyncio.sleep(0.001)
            while len(taken) < UPDATE * version.value + micro:
                taken.append(buffer.get_nowait())
            await asyncio.sleep(0.02)
            batch = taken[UPDATE * (version.value - 1) : UPDATE * version.value]
            ages.extend(version.value - item.model_version for item in batch)
            version.value += 1
        loop._stop_event.set()

    async def both():
        await asyncio.wait_for(asyncio.gather(loop._run_loops(loop._stop_event), learner(loop.rollout_buffer)), HANG_S)

    try:
        loop._loop.run_until_complete(both())
    finally:
        loop._tool_pool.shutdown()
        loop._loop.close()
    return ages, taken, list(loop.rollout_buffer.queue)


def test_trls_loop_is_paced(monkeypatch, caplog):
    ages, taken, _ = run(monkeypatch, PacingSettings(2, GROUP, UPDATE, 2))
    assert len(ages) == UPDATE * UPDATES
    assert max(ages) == 2, "a straggler is waited for, and nothing gets older"
    groups = [item.group_id for item in taken]
    whole = sorted(set(groups))[: -(2 + 1) * UPDATE // GROUP - 2]
    assert all(groups.count(group) == GROUP for group in whole), "nothing is discarded"
    assert 0 in whole, "not even the straggler"
    assert groups != sorted(groups), "others go first while it runs"
    assert "scored groups have waited for older ones" in caplog.text


def test_without_pacing_samples_get_older(monkeypatch):
    """The control: the same rollouts under TRL's loop alone."""
    ages, taken, left = run(monkeypatch, PacingSettings(2, GROUP, UPDATE, 2, lossy=True), until=6)
    assert max(ages) > 2
    assert all("lost_after_s" in item.metrics for item in taken)
    straggler = max(taken + left, key=lambda item: item.metrics["action_duration"])
    assert 0 < straggler.metrics["lost_after_s"] < straggler.metrics["action_duration"]
    others = [item for item in taken + left if item.group_id == straggler.group_id and item is not straggler]
    assert {item.metrics["lost_after_s"] for item in others} == {0.0}, "whatever their own durations"


def test_an_error_of_the_gatekeeper_ends_the_loop(monkeypatch):
    def no_size(self):
        raise NotImplementedError("qsize")

    monkeypatch.setattr(CountingQueue, "taken", no_size)
    with pytest.raises(NotImplementedError, match="qsize"):
        run(monkeypatch, PacingSettings(2, GROUP, UPDATE, 2, exact=False))


def test_a_queue_knows_what_was_taken():
    inner = queue.Queue()
    counting = CountingQueue(inner)
    for item in "abc":
        counting.put_nowait(item)
    inner.get()
    assert counting.taken() == 1
    assert counting.qsize() == 2


def started(tmp_path, step=0, **changes):
    """What TRL's worker is told at the start of a run."""
    trainer = async_trainer(tmp_path, [], **changes)
    trainer.rollout_worker = SimpleNamespace(_loop_cls=AsyncRolloutLoop, _loop_kwargs={})
    PaceRollouts(trainer).on_train_begin(trainer.args, TrainerState(global_step=step), TrainerControl())
    return trainer.rollout_worker._loop_kwargs["pacing"]


def test_the_worker_learns_how_samples_are_taken(tmp_path, caplog):
    settings = started(tmp_path, step=7, weight_sync_steps=3, num_generations=4)
    assert settings == PacingSettings(4, 4, 8, 2, 3, 1)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert "leaves no room" not in caplog.text
    assert started(tmp_path, max_staleness=0).is_tight
    assert "leaves no room" in caplog.text
    assert started(tmp_path, late_programs="lose").lossy
    budget = started(tmp_path, token_budget=4096)
    assert (budget.exact, budget.samples_per_update) == (False, 2)


def test_late_programs_is_wait_or_lose(tmp_path):
    with pytest.raises(ConfigError, match="`late_programs` is 'drop'; choose 'wait' or 'lose'"):
        async_trainer(tmp_path, [], late_programs="drop")
    weighting = {"duration_weighting": "inverse_inclusion", "duration_clock": "cpu"}
    with pytest.raises(ConfigError, match="measured by the wall clock"):
        async_trainer(tmp_path, [], late_programs="lose", **weighting)


def stale(row, **metrics):
    made = sample(row, advantage=1.0, seconds=9.0, version=-9)
    made.metrics |= {"updates_while_scored": 10.0, **metrics}
    return made


@pytest.mark.parametrize("paced", [True, False])
def test_what_is_paced_is_never_dropped(tmp_path, paced):
    trainer = async_trainer(tmp_path, [])
    trainer._is_paced, trainer.model_version = paced, 6
    late = stale(0, updates_while_scored=0.0)
    trainer._note(late)
    assert (trainer.model_version - late.model_version <= trainer.args.max_staleness) is paced
    assert late.metrics["sample/model_version"] == -9
    assert len(trainer._lost) == (0 if paced else 1)
    assert not trainer._lost_seconds


def test_what_is_lost_by_duration_says_after_how_long(tmp_path):
    trainer = async_trainer(tmp_path, [], late_programs="lose")
    trainer.model_version = 6
    late = stale(0, lost_after_s=4.0)
    trainer._note(late)
    assert late.model_version == -9, "updates while it was scored count"
    assert trainer._lost_seconds == [4.0]
    assert "lost_after_s" not in late.metrics
    kept = sample(1, advantage=1.0, seconds=1.0, version=6)
    kept.metrics["lost_after_s"] = 1.0
    trainer._note(kept)
    assert trainer._lost_seconds == [4.0]
    assert "lost_after_s" not in kept.metrics
