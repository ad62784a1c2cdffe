"""Programs that run while the policy learns: what is trained on, how old, with which log-probabilities, and what is lost."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareConfig, DurationAwareTrainer
from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.overlap.choosing import Choice, choose_groups, choose_groups_in_order, choose_groups_with_loss
from trl_mle.training.overlap.in_flight import Group, Row
from trl_mle.training.overlap.timing import OverlapTiming


def letters(texts):
    return [float(sum(map(ord, text)) % 17) for text in texts]


def instant(completions, log_extra=None, **kwargs):
    if log_extra is not None:
        log_extra("action_duration", [1.0 + len(text) for text in completions])
    return letters(completions)


def overlapping(
    folder, reward, dataset=None, trainer_class=DurationAwareTrainer, callbacks=None, timing=None, **changes
):
    return trainer_class(
        model=tiny_model(),
        reward_funcs=reward,
        args=tiny_args(folder, **{"overlap_execution": True, **changes}),
        train_dataset=tiny_dataset() if dataset is None else dataset,
        processing_class=tiny_tokenizer(),
        callbacks=callbacks,
        overlap_timing=timing,
    )


def rollouts(folder, kind="train"):
    files = sorted((folder / "rollouts").glob(f"{kind}_*.parquet"))
    return pd.concat([pd.read_parquet(path) for path in files]) if files else pd.DataFrame()


PAIR = (0, 0)


def group(finished, born=0, layout=PAIR):
    return Group(layout, born, set(range(finished)))


class TestChoice:
    def choose(self, groups, step, max_staleness=4):
        return choose_groups(groups, Counter({PAIR: 1}), step, max_staleness, 1)

    def test_the_oldest_group_that_is_through(self):
        groups = {(0, 0): group(1), (1, 0): group(2, 1), (2, 0): group(2, 2)}
        assert self.choose(groups, 2).train == ((1, 0),)

    def test_nothing_while_none_is_through(self):
        assert self.choose({(0, 0): group(1), (1, 0): group(0, 1)}, 2).train == ()

    def test_at_its_last_chance_a_group_is_waited_for(self):
        groups = {(0, 0): group(1), (1, 0): group(2, 1)}
        assert self.choose(groups, 3).train == ((1, 0),)
        assert self.choose(groups, 4) == Choice((), ())
        groups[0, 0].finished.add(1)
        assert self.choose(groups, 4).train == ((0, 0),)

    def test_groups_of_one_age_are_waited_for_in_time_for_all_of_them(self):
        groups = {(0, place): group(1) for place in range(3)} | {(2, 0): group(2, 2)}
        assert self.choose(groups, 1).train == ((2, 0),)  # steps 2, 3 and 4 are left for the three
        assert self.choose(groups, 2) == Choice((), ())

    def test_a_group_of_this_step_is_waited_for(self):
        assert self.choose({(0, 0): group(1)}, 0, max_staleness=0) == Choice((), ())
        assert self.choose({(0, 0): group(2)}, 0, max_staleness=0).train == ((0, 0),)

    def test_past_the_limit_a_group_is_dropped_as_after_a_change_of_settings(self):
        assert self.choose({(0, 0): group(2)}, 5).drop == ((0, 0),)

    def test_in_order_the_oldest_groups_are_waited_for(self):
        groups = {(0, 0): group(1), (1, 0): group(2, 1), (0, 1): group(2, 0, (1, 1))}
        need = Counter({PAIR: 1, (1, 1): 1})
        assert choose_groups_in_order(groups, need, 2, 4, 1) == Choice((), ())
        groups[0, 0].finished.add(1)
        assert choose_groups_in_order(groups, need, 2, 4, 1).train == ((0, 0), (0, 1))
        assert choose_groups_in_order(groups, need, 5, 4, 1) == Choice((), ((0, 0), (0, 1)))

    def test_groups_keep_to_their_layout(self):
        need = Counter({(0, 0): 1, (1, 1): 1})
        groups = {(0, 0): group(2), (1, 0): group(2, 1), (0, 1): group(0, 0, (1, 1))}
        assert choose_groups(groups, need, 1, 4, 1).train == ()
        groups[0, 1].finished = {2, 3}
        assert choose_groups(groups, need, 1, 4, 1).train == ((0, 0), (0, 1))


@pytest.mark.parametrize("choose", [choose_groups, choose_groups_in_order])
@pytest.mark.parametrize(
    ("batches", "max_staleness", "steps"), [(2, 8, 1), (2, 2, 1), (3, 6, 2), (1, 7, 3), (0, 0, 2)]
)
def test_no_program_is_lost_however_slow_it_is(batches, max_staleness, steps, choose):
    """Programs that a policy makes slow must not cost it less than programs that fail."""
    source = random.Random(batches)
    groups, ends, ages, step, now, generation = {}, {}, [], 0, 0.0, 0
    while step < 300:
        choice = choose(groups, Counter({PAIR: 4}), step, max_staleness, steps)
        assert not choice.drop
        if len(groups) < 4 * (batches + 1):
            for place in range(4):
                groups[generation, place] = Group(PAIR, step)
                ends[generation, place] = [now + source.lognormvariate(0, 2) for _ in PAIR]
            generation += 1
        elif choice.train:
            ages += [step - groups[key].generated_at for key in choice.train]
            assert all(end <= now for key in choice.train for end in ends.pop(key))
            groups = {key: group for key, group in groups.items() if key not in choice.train}
            step += steps
            now += 1.0
        else:
            now = min(end for key in groups for end in ends[key] if end > now)
        for key, group in groups.items():
            group.finished = {place for place, end in enumerate(ends[key]) if end <= now}
    assert len(ages) == 4 * math.ceil(300 / steps)
    assert max(ages) <= max_staleness


@pytest.mark.parametrize(
    "changes",
    [
        {"duration_weighting": "none"},
        {"duration_weighting": "proportional"},
        {"multi_objective_aggregation": "normalize_then_sum"},
    ],
    ids=str,
)
def test_without_batches_in_flight_it_trains_as_without_overlap(tmp_path, changes):
    def length(completions, **kwargs):
        return [None if len(text) % 5 == 0 else float(len(text)) for text in completions]

    rewards = [instant, length]
    waiting = overlapping(tmp_path / "a", rewards, overlap_execution=False, **changes)
    waiting.train()
    overlapped = overlapping(tmp_path / "b", rewards, overlap_batches=0, **changes)
    overlapped.train()
    for name, value in waiting.model.state_dict().items():
        assert torch.allclose(overlapped.model.state_dict()[name], value, atol=1e-5), name
    first, second = rollouts(tmp_path / "a"), rollouts(tmp_path / "b")
    assert list(first["completion"]) == list(second["completion"])
    assert set(second["staleness"]) == {0}


def test_no_staleness_at_all_waits_for_each_batch(tmp_path, caplog):
    async def reward(completions, log_extra, **kwargs):
        while "still run" not in caplog.text:
            await asyncio.sleep(0.01)
        return instant(completions, log_extra)

    timing = OverlapTiming(wait_warning_s=0.05)
    trainer = overlapping(tmp_path, reward, overlap_batches=0, max_staleness=0, timing=timing)
    trainer.train()
    table = rollouts(tmp_path)
    assert len(table) == 3 * 8
    assert not table["lost"].any()
    assert set(table["staleness"]) == {0}
    assert trainer._overlap.generations == 3
    assert "8 programs of the 2 groups in flight still run" in caplog.text


class Recording(DurationAwareTrainer):
    def __init__(self, *args, **kwargs):
        self.batches, self.generated = [], []
        super().__init__(*args, **kwargs)

    def _generate(self, prompts):
        if self._overlap is not None and self._overlap.batch is None:  # a launch
            self.generated.append((self.state.global_step, {k: v.clone() for k, v in self.model.state_dict().items()}))
        return super()._generate(prompts)

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        extra = {name: list(values)[-8:] for name, values in self._logs["extra"].items()}
        self.batches.append((output, extra, {k: v.clone() for k, v in self.model.state_dict().items()}))
        return output


def logps_under(state, batch):
    model = tiny_model()
    model.load_state_dict(state)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].log_softmax(-1)
    return logits.gather(2, ids[:, 1:, None])[:, -batch["completion_ids"].size(1) :, 0]


@pytest.mark.parametrize("changes", [{}, {"beta": 0.1}, {"beta": 0.1, "num_iterations": 2}], ids=str)
def test_late_completions_bring_the_log_probabilities_of_the_policy_that_wrote_them(tmp_path, changes):
    if "beta" in changes:
        tiny_model().save_pretrained(tmp_path / "policy")

    def slow(completions, log_extra, **kwargs):
        time.sleep(0.02 * (sum(map(ord, completions[0])) % 7))
        return instant(completions, log_extra)

    trainer = overlapping(
        tmp_path, slow, trainer_class=Recording, max_steps=8, overlap_batches=2, max_staleness=20, **changes
    ) if "beta" not in changes else Recording(
        model=str(tmp_path / "policy"),
        reward_funcs=slow,
        args=tiny_args(tmp_path, overlap_execution=True, max_steps=8, overlap_batches=2, max_staleness=20, **changes),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )  # fmt: skip
    trainer.train()
    by_step = dict(reversed(trainer.generated))  # the first generation of a step stands
    ages = set()
    for batch, extra, _ in trainer.batches:
        mask = batch["completion_mask"]
        for row, born in enumerate(extra["generated_at_step"]):
            expected = logps_under(by_step[born], batch)[row]
            old_logps = batch["old_per_token_logps"][row]
            assert torch.allclose(old_logps * mask[row], expected * mask[row], atol=2e-5)
            assert extra["old_log_prob"][row] == pytest.approx(float((old_logps * mask[row]).sum()), abs=1e-4)
        if "beta" in changes:
            assert torch.allclose(
                batch["ref_per_token_logps"] * mask, logps_under(trainer.batches[0][2], batch) * mask, atol=2e-5
            )
        ages.update(extra["staleness"])
    assert max(ages) > 0


def test_the_correction_of_an_inference_engine_is_against_the_policy_that_wrote(tmp_path):
    """What TRL does with vLLM, whose part a rollout function plays: the ratio of the engine's probabilities to the policy's."""

    def rollout(prompts, trainer):
        ids = [[5 + (7 * row + trainer.state.global_step) % 90, 6, 7 + row, 1] for row in range(len(prompts))]
        logps = [[-5.0, None if row == 0 else -5.5, -5.2, -5.6] for row in range(len(prompts))]
        return {"prompt_ids": [[3, 4]] * len(prompts), "completion_ids": ids, "logprobs": logps}

    async def reward(completions, log_extra, **kwargs):
        await asyncio.sleep(0.05 * (sum(map(ord, completions[0])) % 4))
        return instant(completions, log_extra)

    trainer = Recording(
        model=tiny_model(),
        reward_funcs=reward,
        args=tiny_args(
            tmp_path,
            overlap_execution=True,
            max_steps=5,
            vllm_importance_sampling_mode="token_truncate",
            loss_type="grpo",
        ),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        rollout_func=rollout,
    )
    trainer.use_vllm, trainer._last_loaded_step = True, -1
    trainer.vllm_generation = SimpleNamespace(sync_weights=lambda: None)
    trainer.train()
    written_by = dict(reversed(trainer.generated))
    for batch, extra, _ in trainer.batches:
        for row, born in enumerate(extra["generated_at_step"]):
            expected = logps_under(written_by[born], batch)[row]
            assert torch.allclose(batch["old_per_token_logps"][row], expected, atol=2e-5)
            ratio = (expected - batch["sampling_per_token_logps"][row]).nan_to_num(0.0).exp()
            ratio = ratio.clamp(max=trainer.vllm_importance_sampling_clip_max)
            assert torch.allclose(batch["importance_sampling_ratio"][row], ratio, atol=1e-4)
    assert max(max(extra["staleness"]) for _, extra, _ in trainer.batches) > 0


def test_a_slow_program_joins_a_later_batch_and_nothing_is_lost_within_the_limit(tmp_path):
    async def reward(completions, log_extra, **kwargs):
        slow = sum(map(ord, completions[0])) % 5 == 0
        await asyncio.sleep(0.4 if slow else 0.0)
        log_extra("action_duration", [0.4 if slow else 0.01])
        return letters(completions)

    trainer = overlapping(tmp_path, reward, max_steps=12, overlap_batches=3, max_staleness=100)
    trainer.train()
    table = rollouts(tmp_path)
    assert len(table) == 12 * 8
    assert not table["lost"].any()
    late = table[table["action_duration"] > 0.1]
    assert late["staleness"].max() > 0
    for _, step in table.groupby("step"):  # weights of a batch of rows of several ages
        expected = step["action_duration"] / step["action_duration"].mean()
        assert list(step["duration_weight"]) == pytest.approx(list(expected))


def test_a_slow_program_is_waited_for_and_what_is_left_at_the_end_is_recorded(tmp_path):
    stopped = []

    async def reward(completions, log_extra, **kwargs):
        # Far longer than four updates take.
        seconds = 0.5 if sum(map(ord, completions[0])) % 11 == 0 else 0.0
        try:
            await asyncio.sleep(60 if len(trainer.state.log_history) >= 11 else seconds)
        except asyncio.CancelledError:
            stopped.append(completions[0])
            raise
        log_extra("action_duration", [seconds])
        return letters(completions)

    trainer = overlapping(
        tmp_path, reward, max_steps=12, overlap_batches=4, max_staleness=4, duration_weighting="inverse_inclusion"
    )
    trainer.train()
    table = rollouts(tmp_path)
    assert len(table) == 12 * 8
    assert not table["lost"].any()
    assert (table["action_duration"] == 0.5).any()
    assert table["staleness"].max() == 4
    assert set(table["duration_weight"]) == {1.0}  # nothing is lost by duration
    dropped = rollouts(tmp_path, "lost")
    assert len(dropped) == 4 * 8  # what was in flight at the end
    assert set(dropped["lost_because"]) == {"training ended"}
    assert stopped
    assert set(stopped) <= set(dropped[~dropped["finished"]]["completion"])


@pytest.mark.parametrize("actions", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_late_programs_are_lost_if_asked_for_and_count_for_inverse_inclusion(tmp_path, actions):
    stopped = []

    async def reward(completions, log_extra, **kwargs):
        stuck = sum(map(ord, completions[0])) % 11 == 0
        try:
            await asyncio.sleep(3600 if stuck else 0.0)
        except asyncio.CancelledError:
            stopped.append(completions[0])
            raise
        log_extra(*(("per_action_durations", [[0.1]]) if actions else ("action_duration", [0.1])))
        return letters(completions)

    settings = {"max_steps": 12, "overlap_batches": 4, "max_staleness": 4, "late_programs": "lose"}
    trainer = overlapping(tmp_path, reward, duration_weighting="inverse_inclusion", **settings)
    trainer.train()
    table = rollouts(tmp_path)
    lost = table[table["lost"]]
    assert len(table) == 12 * 8 and len(lost) > 0
    assert set(lost["completion"]) <= set(stopped)
    assert (lost["advantage"] == 0).all()
    if actions:  # it ran until it was stopped, in one action
        assert [list(seconds) for seconds in lost["per_action_durations"]] == [[waited] for waited in lost["waited_s"]]
    else:
        assert list(lost["action_duration"]) == list(lost["waited_s"])
    assert list(table["action_censored"]) == list(table["lost"])
    assert any(trainer.weighting.state_dict()["lost"])
    assert any(entry.get("duration/lost_share", 0) > 0 for entry in trainer.state.log_history)
    assert table["staleness"].max() <= 4
    assert any(entry.get("overlap/lost_share", 0) > 0 for entry in trainer.state.log_history)
    dropped = rollouts(tmp_path, "lost")
    counted = sum(entry.get("overlap/dropped_rows") or 0 for entry in trainer.state.log_history)
    assert counted == sum(dropped["lost_because"] == "too stale")


def test_with_loss_a_last_chance_needs_two_finished_programs():
    def choose(*finished):
        return choose_groups_with_loss({(0, 0): Group(PAIR * 2, 0, set(finished))}, Counter({PAIR * 2: 1}), 3, 4, 2)

    assert choose(0).drop == ((0, 0),)
    assert choose(0, 1) == Choice(((0, 0),), ())


def test_a_thread_that_never_ends_holds_up_neither_other_rows_nor_the_end(tmp_path):
    calls, begun = itertools.count(), []

    def reward(completions, log_extra, **kwargs):
        begun.append(True)
        time.sleep(3600 if next(calls) in (0, 1) else 0.0)  # both places are taken
        return instant(completions, log_extra)

    timing = OverlapTiming(sync_threads=2)
    trainer = overlapping(tmp_path, reward, max_steps=1, overlap_batches=0, timing=timing)
    (first, second) = (Row((0, 0), place, 0, {"prompt": "p"}, [1], [2], "c", None, None, [0.0]) for place in range(2))
    for row in (first, second):
        trainer._overlap.runner.start(row, trainer.state)
    while len(begun) < 2:
        time.sleep(0.01)
    for row in (first, second):
        row.stop()
    trainer.train()
    assert len(rollouts(tmp_path)) == 8


@pytest.mark.parametrize("rows", [4, 16])
def test_completions_are_shown_after_an_evaluation_that_has_other_columns(tmp_path, rows):
    trainer = overlapping(tmp_path, instant, max_steps=1, log_completions=True, per_device_eval_batch_size=rows)
    trainer.train()
    trainer.evaluate(tiny_dataset(4))
    extra = trainer._logs["extra"]
    assert {len(column) for column in extra.values()} == {len(trainer._logs["prompt"])}
    assert list(extra["staleness"])[-rows:] == [None] * min(rows, 16)


def test_an_error_of_a_program_in_flight_ends_the_run(tmp_path):
    async def reward(completions, log_extra, **kwargs):
        raise RuntimeError("the sandbox is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        overlapping(tmp_path, reward).train()


def test_two_values_for_one_completion_are_an_error(tmp_path):
    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0, 2.0])
        return letters(completions)

    with pytest.raises(DurationError, match="one completion at a time"):
        overlapping(tmp_path, reward).train()


def test_a_resumed_run_takes_up_what_was_in_flight(tmp_path, caplog):
    calls = []

    async def reward(completions, log_extra, **kwargs):
        calls.append(completions[0])
        await asyncio.sleep(0.05 * (sum(map(ord, completions[0])) % 3))
        log_extra("per_action_durations", [[np.float64(1.0)]])
        log_extra("curve", [{"loss": np.zeros(2)}])
        return letters(completions)

    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "overlap_batches": 2, "max_staleness": 20}
    overlapping(tmp_path, reward, **settings).train()
    state = torch.load(tmp_path / "checkpoint-3/in_flight_0.pt", weights_only=True)
    assert len(state["rows"]) == 2 * 8
    unfinished = [row["completion"] for row in state["rows"] if row["rewards"] is None]
    finished = [row for row in state["rows"] if row["rewards"] is not None]
    assert finished
    for row in finished:  # as an earlier version wrote them
        row["columns"]["action_durations"] = row["columns"].pop("per_action_durations")
    torch.save(state, tmp_path / "checkpoint-3/in_flight_0.pt")
    calls.clear()
    resumed = overlapping(tmp_path, reward, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert calls[: len(unfinished)] == unfinished
    assert f"Resumed with 16 completions in flight: {16 - len(unfinished)} have a result" in caplog.text
    table = rollouts(tmp_path)
    assert sorted(set(table["step"])) == list(range(6))
    assert [list(seconds) for seconds in table["per_action_durations"]] == [[1.0]] * len(table)
    assert "action_durations" not in table
    assert set(rollouts(tmp_path, "lost")["step"]) == {6}  # the first run's are replaced
    assert set(table[table["step"] == 3]["generated_at_step"]) < {0, 1, 2, 3}

    (tmp_path / "checkpoint-3/in_flight_0.pt").unlink()
    overlapping(tmp_path, reward, **settings).train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert "is lost on this process or another, and is generated anew" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overlap_batches": -1}, "overlap_batches"),
        ({"overlap_order": "newest"}, "`overlap_order` is 'newest'; choose 'finished' or 'launched'"),
        (
            {"overlap_order": "launched", "late_programs": "lose"},
            "waits for every program, and `late_programs` is 'lose'",
        ),
        ({"late_programs": "stop"}, "`late_programs` is 'stop'; choose 'wait' or 'lose'"),
        (
            {"late_programs": "lose", "duration_weighting": "inverse_inclusion", "duration_clock": "cpu"},
            "`duration_clock: cpu`, but programs that `late_programs: lose` loses are measured by the wall clock",
        ),
        ({"overlap_batches": 3, "max_staleness": 2}, "`max_staleness`=2.*`max_staleness` to 3"),
        ({"overlap_batches": 3, "num_iterations": 2, "max_staleness": 5}, "`max_staleness` to 6"),
    ],
)
def test_impossible_settings(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_args(tmp_path, DurationAwareConfig, overlap_execution=True, **changes)


@pytest.mark.parametrize(
    ("steps_per_generation", "accumulation", "steps"),
    [(4, 2, 2), (2, 4, 1), (3, 3, 1), (5, 3, 3), (3, 2, 2), (6, 4, 2)],
)
def test_steps_of_a_batch_that_begins_and_ends_within_steps(tmp_path, steps_per_generation, accumulation, steps):
    """At the end of an epoch transformers makes a step of what is left: that batch spans one more."""
    args = tiny_args(tmp_path, steps_per_generation=steps_per_generation, gradient_accumulation_steps=accumulation)
    assert args.steps_per_batch == steps
