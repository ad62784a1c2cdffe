"""AsyncDurationAwareTrainer against injected workers: weights over an optimizer step, staleness, and what was lost."""

from __future__ import annotations

import asyncio
import math
import queue
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate import PartialState

from tests.support.async_worker import Recording, async_trainer, sample
from tests.support.hang import HANG_S
from trl_mle.errors import ConfigError, DurationError, SandboxError
from trl_mle.training.async_grpo import trainer as async_trainer_module
from trl_mle.training.async_grpo.rollouts import DurationRolloutLoop, LoopTiming
from trl_mle.training.async_grpo.trl_imports import (
    AsyncGRPOConfig,
    AsyncGRPOTrainer,
    AsyncRolloutLoop,
    AsyncRolloutWorker,
    RolloutGroup,
    async_grpo_trainer,
)

TrainingSequence = sys.modules[AsyncRolloutWorker.__module__].TrainingSequence


def samples(count=48, seconds=lambda row: 1.0 + row % 5 * 3.0, **changes):
    return [sample(row, advantage=math.sin(row + 1.0), seconds=seconds(row), **changes) for row in range(count)]


def test_weights_have_mean_1_over_the_micro_batches_of_a_step(tmp_path):
    batch = samples()
    trainer = async_trainer(tmp_path, batch, Recording)
    trainer.train()
    table = pd.concat([pd.read_parquet(path) for path in sorted((tmp_path / "run/rollouts").glob("train_*.parquet"))])
    assert list(table.groupby("step").size()) == [8, 8]
    for step, rows in table.groupby("step"):
        expected = rows["action_duration"] / rows["action_duration"].mean()
        assert list(rows["duration_weight"]) == pytest.approx(list(expected))
        effective = sorted(set(torch.cat([values for at, values in trainer.seen if at == step]).tolist()))
        assert effective == pytest.approx(sorted(rows["advantage"] * expected), abs=1e-6)
    assert set(table["model_version"]) == {1}
    assert set(table["staleness"]) == {0, 1}
    assert list(table["old_log_prob"][:3]) == pytest.approx([-5.5 * (4 + row % 3) for row in range(3)])
    logged = [entry for entry in trainer.state.log_history if "duration/weight_ess" in entry]
    assert 0 < logged[0]["duration/weight_ess"] < 1
    assert not list((tmp_path / "run/rollouts").glob("lost_*"))


@pytest.mark.parametrize(
    "changes", [{"duration_weighting": "none"}, {"duration_clock": "cpu"}], ids=["none", "programs that sleep"]
)
def test_it_trains_as_asyncgrpo_to_the_bit(tmp_path, changes):
    def batch():
        unequal = samples(seconds=lambda row: 1.0 + row)
        for item in unequal:
            item.metrics["action_cpu_duration"] = 2.5
        return unequal

    theirs = async_trainer(tmp_path / "a", batch(), AsyncGRPOTrainer, AsyncGRPOConfig)
    theirs.train()
    ours = async_trainer(tmp_path / "b", batch(), **changes)
    ours.train()
    assert all(torch.equal(value, ours.model.state_dict()[name]) for name, value in theirs.model.state_dict().items())


def test_metrics_and_warnings_are_those_of_the_other_trainer(tmp_path, caplog):
    batch = samples(120)
    for row in range(120):
        batch[row].metrics["action_censored"] = float(row % 8 == 0)
        if row % 8 == 0:  # stopped, and without a reward for it: lost
            batch[row].metrics["reward"] = math.nan
    changes = {"duration_weighting": "none", "gradient_accumulation_steps": 5, "max_steps": 4}
    trainer = async_trainer(tmp_path, batch, **changes)
    trainer.train()
    (warning,) = [record.getMessage() for record in caplog.records if "lost by duration" in record.getMessage()]
    assert "duration_weighting: inverse_inclusion" in warning
    logged = next(entry for entry in trainer.state.log_history if "duration/lost_share" in entry)
    names = ("mean", "max", "weight_ess", "weight_max", "unscorable_share", "reward_q1", "advantage_mass_q4")
    for name in (*names, "lost_share_q4", "timeout_share"):
        assert f"duration/{name}" in logged


def test_the_model_card_says_how_it_was_weighted(tmp_path):
    trainer = async_trainer(tmp_path, [])
    trainer.model_card_sections["Scores"] = "best private score: 0.5"
    trainer.model_card_sections["Quick start"] = "write a program"
    trainer.create_model_card(model_name="tiny")
    card = (tmp_path / "run/README.md").read_text()
    assert "weighting: `proportional`" in card
    assert "best private score: 0.5" in card
    assert "write a program" in card


def test_unequal_durations_change_the_run(tmp_path):
    theirs = async_trainer(tmp_path / "a", samples(), AsyncGRPOTrainer, AsyncGRPOConfig)
    theirs.train()
    ours = async_trainer(tmp_path / "b", samples())
    ours.train()
    assert not torch.equal(theirs.model.lm_head.weight, ours.model.lm_head.weight)


def test_samples_without_a_reward_have_no_part_in_the_mean(tmp_path):
    batch = samples(40)
    batch[3] = sample(3, advantage=0.0, seconds=1e6, reward=math.nan)
    trainer = async_trainer(tmp_path, batch, max_steps=1)
    trainer.train()
    table = pd.read_parquet(next((tmp_path / "run/rollouts").glob("train_*.parquet")))
    scored = table[table["reward"].notna()]
    assert len(scored) == 7
    assert list(scored["duration_weight"]) == pytest.approx(
        list(scored["action_duration"] / scored["action_duration"].mean())
    )


def test_censored_samples_without_a_reward_are_lost_for_inverse_inclusion(tmp_path):
    batch = samples(40, seconds=lambda row: [1.0, 2.0, 6.0, 9.0][row % 4] + row / 1000)
    for row in range(40):
        # Half of the slowest are stopped after 5 s.
        stopped = row % 8 == 7
        batch[row].metrics["action_censored"] = float(stopped)
        if stopped:
            batch[row].metrics |= {"action_duration": 5.0, "reward": math.nan}
            batch[row].advantage = 0.0
    trainer = async_trainer(tmp_path, batch, duration_weighting="inverse_inclusion", max_steps=1)
    trainer.train()
    assert trainer.weighting.state_dict()["lost"].count(True) == 1
    logged = next(entry for entry in trainer.state.log_history if "duration/lost_share" in entry)
    assert logged["duration/lost_share"] == pytest.approx(1 / 8)
    assert [logged[f"duration/lost_share_q{q}"] for q in range(1, 5)] == pytest.approx([0, 0, 0.5, 0])
    table = pd.read_parquet(next((tmp_path / "run/rollouts").glob("train_*.parquet")))
    table = table[table["reward"].notna()].sort_values("action_duration")
    # Four samples ran for at least 5 s, and one of them was lost then.
    inverse = (table["action_duration"] > 5).map({True: 4 / 3, False: 1.0})
    assert list(table["duration_weight"]) == pytest.approx(list(inverse / inverse.mean()))
    mass = (table["advantage"] * table["duration_weight"]).abs()
    expected = [part.sum() / mass.sum() for part in np.split(mass.to_numpy(), [2, 4, 6])]
    assert [logged[f"duration/advantage_mass_q{q}"] for q in range(1, 5)] == pytest.approx(expected, abs=1e-6)


def test_a_worker_may_leave_the_reward_out(tmp_path):
    trainer = async_trainer(tmp_path, samples(reward=...), max_steps=1)
    trainer.train()
    logged = next(entry for entry in trainer.state.log_history if "duration/mean" in entry)
    assert logged["duration/unscorable_share"] == 0
    assert not any("reward_q" in name for name in logged)


def test_seconds_of_lost_samples_do_not_pile_up_where_durations_are_missing(tmp_path):
    batch = samples(40)
    for row in range(40):
        if row % 5 == 0:
            batch[row].model_version = -9
        else:
            del batch[row].metrics["action_duration"]
    trainer = async_trainer(tmp_path, batch, duration_weighting="none")
    reported = []
    trainer.weighting.report_lost = reported.extend
    trainer.train()
    assert not reported
    assert not trainer._lost_seconds


def test_the_old_place_of_inclusion_works_with_a_warning(tmp_path):
    trainer = async_trainer(tmp_path, [])
    with pytest.warns(FutureWarning, match=r"trainer\.weighting\.inclusion"):
        assert trainer.inclusion is trainer.weighting.inclusion


def test_what_is_too_stale_is_recorded(tmp_path):
    batch = samples(48)
    for row in range(0, 48, 6):
        batch[row].model_version = -4  # five versions old when the first update is made
    trainer = async_trainer(tmp_path, batch)
    trainer.train()
    lost = pd.concat([pd.read_parquet(path) for path in (tmp_path / "run/rollouts").glob("lost_*.parquet")])
    assert len(lost) >= 2
    assert (lost["staleness"] > 4).all()
    assert lost["action_duration"].notna().all()
    dropped = sum(entry.get("sample/dropped_stale_total") or 0 for entry in trainer.state.log_history)
    assert dropped >= len(lost)


def test_updates_while_its_programs_ran_make_no_sample_stale(tmp_path):
    batch = samples(48)
    for row in range(48):
        batch[row].metrics["updates_while_scored"] = 0.0
        if row % 3 == 0:  # slow programs
            batch[row].model_version = -9
            batch[row].metrics["updates_while_scored"] = 10.0
        elif row % 3 == 1:  # long in the queue
            batch[row].model_version = -9
    trainer = async_trainer(tmp_path, batch)
    reported = []
    trainer.weighting.report_lost = reported.extend
    trainer.train()
    folder = tmp_path / "run/rollouts"
    table, lost = (
        pd.concat([pd.read_parquet(path) for path in folder.glob(f"{kind}_*.parquet")]) for kind in ("train", "lost")
    )
    assert {10, 11} <= set(table["staleness"])  # the real age is on record
    assert set(lost["updates_while_scored"]) == {0.0}
    assert (lost["staleness"] >= 10).all()
    assert not reported  # what is dropped now is not dropped for its duration


def test_without_rollouts_on_disk_nothing_is_kept_in_memory(tmp_path):
    batch = samples(40)
    for row in range(0, 40, 5):
        batch[row].model_version = -9
    trainer = async_trainer(tmp_path, batch, save_rollouts=False)
    trainer.train()
    assert not trainer._lost


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (..., "8 of 8 samples have no durations.*log_extra"),
        (-1.0, "duration -1.0 of row 0 is not a number of seconds"),
    ],
)
def test_missing_and_impossible_durations(tmp_path, seconds, message):
    with pytest.raises(DurationError, match=message):
        async_trainer(tmp_path, samples(seconds=lambda row: seconds)).train()


def test_a_plain_config_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="AsyncDurationAwareConfig"):
        async_trainer(tmp_path, [], config_class=AsyncGRPOConfig)


def test_impossible_settings(tmp_path):
    with pytest.raises(ConfigError, match="duration_clip"):
        async_trainer(tmp_path, [], duration_clip=0.1)


class TestLoop:
    """What runs in the child process of TRL's own worker; scoring needs neither vLLM nor the process."""

    @pytest.fixture(autouse=True)
    def state(self):
        """The logger of accelerate works only where there is a state, whichever test runs first."""
        PartialState()

    def score(self, reward, completions=3, version=None):
        sequences = [
            [TrainingSequence([1, 2, 3], [0, 1, 1], [0.0, -1.0, -1.0], str(row))] * (1 + row % 2)
            for row in range(completions)
        ]
        group = RolloutGroup(
            prompts=[[{"role": "user", "content": "p"}]] * completions,
            reward_kwargs={"task": ["toy"] * completions},
            completions=[[{"role": "assistant", "content": str(row)}] for row in range(completions)],
            completions_ids=[[2, 3]] * completions,
            completions_sequences=sequences,
            tool_call_counts=[0] * completions,
            tool_failure_counts=[0] * completions,
            model_version=1,
            group_id=0,
            env_rewards=[],
            rollout_rewards=[None] * completions,
        )
        loop = DurationRolloutLoop.__new__(DurationRolloutLoop)
        loop.reward_funcs, loop.reward_func_names, loop._env_reward_types = [reward], ["reward"], []
        pushed = []
        loop._push_metrics = pushed.append
        loop._model_version_value = version or SimpleNamespace(value=3)
        return asyncio.run(loop._score_group(group)), pushed

    def test_durations_go_into_the_samples(self):
        version = SimpleNamespace(value=3)

        async def reward(completions, task, log_extra, log_metric, **kwargs):
            log_extra("action_duration", [0.5, None, 2.0])
            log_extra("program", ["x"] * 3)
            version.value = 5
            log_metric("programs/valid_share", 0.5)
            return [1.0, 2.0, 4.0]

        scored, pushed = self.score(reward, version=version)
        assert [item.metrics["action_duration"] for item in scored] == pytest.approx(
            [0.5, math.nan, math.nan, 2.0], nan_ok=True
        )
        assert "program" not in scored[0].metrics
        assert {item.metrics["updates_while_scored"] for item in scored} == {2.0}
        assert pushed == [{"programs/valid_share": 0.5}]
        assert isinstance(scored[0].input_ids, np.ndarray)

    @pytest.mark.parametrize("end", ["stopped", "failed"])
    def test_at_the_end_programs_are_stopped_and_reward_functions_closed(self, monkeypatch, end):
        events = []

        async def loops(self, stop_event):
            try:
                await asyncio.sleep(3600 if end == "stopped" else 0)
                raise RuntimeError("vLLM is gone")
            except asyncio.CancelledError:
                events.append("stopped")
                raise

        class Reward:
            async def aclose(self):
                events.append("closed")
                raise SandboxError("E2B cannot be reached")

        async def go():
            loop = DurationRolloutLoop.__new__(DurationRolloutLoop)
            loop.reward_funcs, loop.timing = [print, Reward(), Reward()], LoopTiming(stop_s=0.05)
            stop = asyncio.Event()
            if end == "stopped":
                asyncio.get_running_loop().call_later(0.05, stop.set)
            await asyncio.wait_for(loop._run_loops(stop), HANG_S)

        monkeypatch.setattr(AsyncRolloutLoop, "_run_loops", loops)
        if end == "failed":
            with pytest.raises(RuntimeError, match="gone"):
                asyncio.run(go())
            assert events == ["closed"] * 2
        else:
            asyncio.run(go())
            assert events == ["stopped", "closed", "closed"]

    def test_a_group_does_not_wait_for_the_programs_of_another(self):
        async def scores():
            loop = DurationRolloutLoop.__new__(DurationRolloutLoop)
            vars(loop).update(
                _heartbeat_value=SimpleNamespace(value=0.0), _groups_to_score=asyncio.Queue(), log_completions=False,
                _inflight=0, _total_completion_tokens=0, _pushed_completion_tokens=0, _pushed_at=0.0, _total_groups_scored=0,
                _push_metrics=lambda metrics: None, rollout_buffer=queue.Queue(),
            )  # fmt: skip
            stop, done = asyncio.Event(), []

            async def score_group(group):
                while len(done) < group.turn:
                    await asyncio.sleep(0.001)
                done.append(group.turn)
                if len(done) == 3:
                    stop.set()
                return []

            loop._score_group = score_group
            for turn in (2, 0, 1):
                loop._groups_to_score.put_nowait(SimpleNamespace(turn=turn, queued_at=0.0))
            await asyncio.wait_for(loop._score_loop(stop), HANG_S)
            return done

        assert asyncio.run(scores()) == [0, 1, 2]

    def test_the_wrong_number_of_durations(self):
        def reward(completions, log_extra, **kwargs):
            log_extra("action_duration", [1.0])
            return [1.0, 2.0, 4.0]

        with pytest.raises(DurationError, match="got 1 values for 3 completions"):
            self.score(reward)


def test_trls_own_worker_gets_the_loop(tmp_path, monkeypatch):
    class StandIn:
        _loop_cls = None

        def __init__(self, **kwargs):
            self.rollout_buffer = SimpleNamespace()

    monkeypatch.setattr(async_grpo_trainer, "AsyncRolloutWorker", StandIn)
    monkeypatch.setattr(async_trainer_module, "AsyncRolloutWorker", StandIn)
    trainer = async_trainer(tmp_path, None, worker=False)
    assert trainer.rollout_worker._loop_cls is DurationRolloutLoop


def test_inverse_inclusion_makes_up_for_slow_samples_that_are_lost(tmp_path):
    batch = samples(80, seconds=lambda row: 1.0 + row % 5 * 3.0 + row / 1000)
    for row in range(80):
        if batch[row].metrics["action_duration"] > 12:  # the slowest fifth is too stale, except one in four
            batch[row].model_version = 1 if row % 4 == 0 else -9
    trainer = async_trainer(tmp_path, batch, duration_weighting="inverse_inclusion", max_steps=3)
    trainer.train()
    files = sorted((tmp_path / "run/rollouts").glob("train_*.parquet"))
    last = pd.read_parquet(files[-1])
    slow = last["action_duration"] > 12
    assert slow.any()
    assert last[slow]["duration_weight"].mean() > 1.5 * last[~slow]["duration_weight"].mean()
    assert last["duration_weight"].mean() == pytest.approx(1.0)
