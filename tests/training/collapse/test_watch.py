"""A trainer that watches itself: it warns, stops or goes back, and by default trains as without."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
from transformers import TrainerCallback

from tests.support import drop_in
from tests.support.drop_in import run
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.support.training_runs import assert_same_run, train, unequal, with_durations
from tests.training.test_drop_in_matrix import FEATURES
from trl_mle import DurationAwareTrainer
from trl_mle.errors import ConfigError
from trl_mle.outcomes import read_rollouts
from trl_mle.scripts.run_dir import RunRecorder
from trl_mle.training.collapse.update_size import UpdateSize
from trl_mle.training.collapse.watch import _NewValues, distinct_share

BREAKS_AT = 6
"""Step whose batch, and those after it, are all failures, in every attempt before `heals`."""


class Rates(TrainerCallback):
    def __init__(self):
        self.seen = []

    def on_step_end(self, args, state, control, **kwargs):
        self.seen.append((state.global_step, kwargs["optimizer"].param_groups[0]["lr"]))


def breaking_run(folder, *, heals=1, breaks_at=BREAKS_AT, callbacks=(), resume=None, rows=40, **changes):
    """A trainer that has trained on rewards which rise, then break until training has gone back `heals` times."""

    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0] * len(completions))
        step, rollbacks = trainer.state.global_step, 0 if trainer._collapse is None else trainer._collapse.rollbacks
        broken = step >= breaks_at and rollbacks < heals
        return [(-100.0 if broken else float(step)) + 0.01 * (sum(map(ord, text)) % 17) for text in completions]

    settings = {"max_steps": 10, "save_strategy": "steps", "save_steps": 2, "collapse_action": "rollback", **changes}
    # The tiny policy is random, and its entropy means nothing.
    args = tiny_args(folder, collapse_entropy=None, collapse_distinct=None, **settings)
    rates = Rates()
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=args,
        train_dataset=tiny_dataset(rows),
        processing_class=tiny_tokenizer(),
        callbacks=[RunRecorder(folder, {}), rates, *callbacks],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer, rates.seen


@pytest.fixture(scope="module")
def gone_back(tmp_path_factory):
    """Folder, trainer and learning rates of a run that broke and went back once."""
    folder = tmp_path_factory.mktemp("gone_back")
    return folder, *breaking_run(folder, lr_scheduler_type="constant")


def test_training_goes_back_and_goes_on_with_a_lower_rate(gone_back):
    folder, trainer, rates = gone_back
    assert trainer.state.global_step == 10
    # The batches of steps 6 and 7 are broken; checkpoint-6 is that of the broken policy.
    steps = [step for step, _ in rates]
    again = steps.index(5, 5)
    assert steps in ([*range(1, 8), *range(5, 11)], [*range(1, 9), *range(5, 11)])
    assert {rate for _, rate in rates[:again]} == {1e-2}
    assert [rate for _, rate in rates[again:]] == pytest.approx([3e-3] * len(rates[again:]))
    assert any(path.name.startswith("_collapsed-6") for path in folder.iterdir())
    assert (folder / "checkpoint-10").exists()


def test_nothing_is_counted_twice(gone_back):
    folder, _, _ = gone_back
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, 11))
    rollouts = read_rollouts(folder)
    assert sorted(set(rollouts["step"])) == list(range(10))
    assert len(rollouts) == 10 * 8
    assert (rollouts["reward"] > -50).all()


def test_going_back_takes_weights_and_optimizer_of_the_checkpoint(tmp_path):
    # With a factor of 1, going back to a healthy policy repeats the run that never broke.
    broken, _ = breaking_run(tmp_path / "broken", rollback_lr_factor=1.0, max_steps=9)
    whole, _ = breaking_run(tmp_path / "whole", heals=0, max_steps=9)
    assert broken._collapse.rollbacks == 1
    assert whole._collapse.rollbacks == 0
    theirs = whole.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in broken.model.state_dict().items())


def test_the_number_of_rollbacks_is_bounded_and_rates_multiply(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer, rates = breaking_run(tmp_path, heals=99, rollback_limit=2, lr_scheduler_type="constant")
    assert trainer._collapse.rollbacks == 2
    assert trainer.state.global_step < 10
    assert "the mean reward has lost" in trainer._collapse.stopped_for
    assert "Training stops after 2 rollbacks. The best that was seen to be healthy is checkpoint-4" in caplog.text
    assert sorted({round(rate, 8) for _, rate in rates}) == pytest.approx([9e-4, 3e-3, 1e-2])


def test_training_stops_and_names_the_checkpoint(tmp_path, caplog):
    for name, file in (("checkpoint-4", "trainer_state.json"), ("checkpoint-5", "half")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()  # of an earlier run in this folder
    with caplog.at_level(logging.WARNING):
        trainer, _ = breaking_run(tmp_path, collapse_action="stop", save_steps=3)
    assert trainer.state.global_step in (7, 8)
    assert "The best that was seen to be healthy is checkpoint-3" in caplog.text
    assert len(trainer._collapse.history) > 6
    trainer._collapse.begin(resumes=False)  # as a second `train()` does, which begins a run of its own
    assert trainer._collapse.history == []
    assert trainer._collapse.detector.gains["reward"].best is None


@pytest.mark.parametrize("action", ["stop", "rollback"])
def test_the_end_of_an_epoch_saves_no_broken_policy(tmp_path, action):
    """Nor does it push out the checkpoint that training goes back to."""
    trainer, _ = breaking_run(tmp_path, rows=8, save_strategy="epoch", save_total_limit=2, collapse_action=action)
    stopped = [path.name for path in tmp_path.iterdir() if path.name.startswith("_collapsed-")]
    if action == "stop":
        assert not (tmp_path / f"checkpoint-{trainer.state.global_step}").exists()
        assert trainer.state.global_step in (7, 8)
    else:
        assert trainer._collapse.rollbacks == 1 and trainer.state.global_step == 10
    assert not {"_collapsed-7", "_collapsed-8"} & set(stopped)


def test_without_a_healthy_checkpoint_training_stops_and_says_so(tmp_path, caplog):
    class Forgets(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            shutil.rmtree(tmp_path / "checkpoint-0", ignore_errors=True)

    with caplog.at_level(logging.WARNING):
        trainer, _ = breaking_run(tmp_path, save_steps=50, callbacks=[Forgets()])
    assert trainer.state.global_step in (7, 8)
    assert "because there is nothing to go back to. No checkpoint is known to be healthy" in caplog.text


def test_a_run_that_breaks_at_once_goes_back_to_its_beginning(tmp_path):
    trainer, rates = breaking_run(tmp_path, breaks_at=2, save_steps=50, lr_scheduler_type="constant")
    assert trainer._collapse.rollbacks == 1
    assert trainer.state.global_step == 10
    steps = [step for step, _ in rates]
    again = steps.index(1, 1)
    assert steps[again:] == list(range(1, 11))
    assert [rate for _, rate in rates[again:]] == pytest.approx([3e-3] * 10)
    assert sorted(set(read_rollouts(tmp_path)["step"])) == list(range(10))


def test_a_rollback_survives_a_resume(gone_back, tmp_path):
    """A later process goes on with the lower rate, and remembers that it has gone back."""
    folder, _, _ = gone_back
    args = tiny_args(tmp_path, max_steps=11, save_strategy="no", lr_scheduler_type="constant")
    rates = Rates()

    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0] * len(completions))
        return [float(len(text)) for text in completions]

    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=args,
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        callbacks=[rates],
    )
    trainer.train(resume_from_checkpoint=str(folder / "checkpoint-10"))
    assert rates.seen == [(11, pytest.approx(3e-3))]
    assert trainer._collapse.rollbacks == 1
    assert len(trainer._collapse.history) == 11


def test_a_warning_changes_nothing_of_training(tmp_path):
    runs = []
    for action in ("none", "warn"):
        watched = {"collapse_entropy": 0.99, "collapse_distinct": 0.99, "collapse_update_kl": 1e-9}
        args = tiny_args(tmp_path / action, collapse_action=action, **watched)
        runs.append(train(DurationAwareTrainer, args, with_durations(unequal)))
    assert_same_run(*runs)
    assert "collapse/entropy_ratio" in runs[1][0].state.log_history[0]
    assert "collapse/entropy_ratio" not in runs[0][0].state.log_history[0]


def test_an_update_that_goes_too_far_stops_training_with_the_first_bad_batch(tmp_path):
    far = {"collapse_update_kl": 1e-9, "learning_rate": 0.1, "collapse_action": "stop"}
    trainer, _ = breaking_run(tmp_path / "broken", breaks_at=3, max_steps=6, **far)
    # The batch of step 3 is the first bad one. Noise is not known so early: the reward alone would not be acted on.
    assert trainer.state.global_step == 4
    assert "the mean reward has lost" in trainer._collapse.stopped_for
    whole, _ = breaking_run(tmp_path / "whole", heals=0, max_steps=6, **far)
    assert whole.state.global_step == 6
    assert whole._collapse.stopped_for is None


def test_low_entropy_and_repeated_programs_warn_and_end_nothing(tmp_path, caplog):
    args = tiny_args(tmp_path, collapse_action="stop", collapse_entropy=0.999, collapse_reward_drop=None, max_steps=6)
    with caplog.at_level(logging.WARNING):
        trainer, *_ = train(DurationAwareTrainer, args, with_durations(unequal))
    assert "The policy may be collapsing" in caplog.text and "the entropy per token is" in caplog.text
    assert trainer.state.global_step == 6


def test_a_valid_share_that_falls_ends_training(tmp_path):
    """Any reward function may log it."""

    def reward(completions, log_extra, log_metric, **kwargs):
        log_extra("action_duration", [1.0] * len(completions))
        log_metric("programs/valid_share", 0.9 if trainer.state.global_step < 7 else 0.0)
        return [float(len(text)) for text in completions]

    args = tiny_args(tmp_path, collapse_action="stop", collapse_reward_drop=None, max_steps=12)
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=args,
        train_dataset=tiny_dataset(40),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    assert trainer.state.global_step in (8, 9)
    assert "the valid share has lost" in trainer._collapse.stopped_for


def test_the_size_of_an_update_grows_with_the_rate(tmp_path):
    """With a rate of 0 nothing moves; a hundred times the rate moves the policy further."""
    sizes = []
    for rate in (0.0, 1e-3, 1e-1):
        args = tiny_args(tmp_path / str(rate), collapse_update_kl=1e9, learning_rate=rate, max_steps=1)
        trainer, *_ = train(DurationAwareTrainer, args, with_durations(unequal))
        sizes.append(trainer.state.log_history[0]["collapse/update_kl"])
    assert sizes[0] == 0.0
    assert abs(sizes[1]) < abs(sizes[2])


def test_the_size_of_an_update_leaves_out_what_tools_wrote(tmp_path, monkeypatch):
    kept, keep = [], UpdateSize.keep

    def keeping(self, *arguments):
        kept.append(self.written)
        keep(self, *arguments)

    monkeypatch.setattr(UpdateSize, "keep", keeping)
    run(tmp_path, FEATURES["tools"], drop_in.unequal, collapse_update_kl=0.2)
    assert kept and all((mask == 0).any() and (mask == 1).any() for mask in kept)


def test_metrics_are_logged_when_logs_are_rare(tmp_path):
    """The watch reads each batch once, also between logs."""
    args = tiny_args(tmp_path, logging_steps=3, max_steps=6)
    trainer, *_ = train(DurationAwareTrainer, args, with_durations(unequal))
    assert len(trainer._collapse.history) == 6
    assert len({health.reward for health in trainer._collapse.history}) > 1
    assert len(trainer._collapse.detector.early["entropy"].first) == 3


def test_several_updates_on_a_batch_are_judged_once(tmp_path):
    args = tiny_args(tmp_path, per_device_train_batch_size=4, steps_per_generation=2, max_steps=6)
    trainer, *_ = train(DurationAwareTrainer, args, with_durations(unequal))
    assert [health.step for health in trainer._collapse.history] == [0, 2, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"collapse_action": "halt"}, "'halt'.*'stop' or 'rollback'"),
        ({"collapse_entropy": 1.5}, "`collapse_entropy` is 1.5"),
        ({"collapse_valid_drop": 1.0}, "`collapse_valid_drop` is 1.0"),
        ({"collapse_update_kl": 0.0}, "`collapse_update_kl` is 0.0"),
        ({"collapse_distinct": 0.0}, "`collapse_distinct` is 0.0"),
        ({"rollback_lr_factor": 0.0}, "`rollback_lr_factor` is 0.0"),
        ({"rollback_limit": -1}, "`rollback_limit` is -1"),
        ({"collapse_action": "rollback"}, "`save_strategy` is 'no'"),
        ({"collapse_action": "rollback", "save_strategy": "steps", "save_total_limit": 1}, "`save_total_limit` is 1"),
        ({"collapse_action": "rollback", "save_strategy": "steps", "save_only_model": True}, "save_only_model"),
    ],
)
def test_settings_that_cannot_work_are_named(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_args(tmp_path, **changes)


def test_programs_count_where_there_are_any():
    columns = {"completion": ["a", "b ", "b"], "step": [0] * 3}
    assert distinct_share(columns) == pytest.approx(2 / 3)
    assert distinct_share({**columns, "program": ["x", "x", None]}) == pytest.approx(2 / 3)
    assert distinct_share({**columns, "program": ["x", "x\n", "x"]}) == pytest.approx(1 / 3)
    assert distinct_share({"completion": []}) is None


def test_metrics_are_read_once_across_logs():
    values, metrics = _NewValues("entropy"), {"entropy": [1.0, 3.0]}
    assert values.mean({}) is None
    assert values.mean(metrics) == 2.0
    assert values.mean(metrics) is None
    metrics["entropy"].append(5.0)
    assert values.mean(metrics) == 5.0
    # After a log the list is a new one, of which nothing was read.
    logged = {"entropy": [9.0, float("nan")]}
    assert values.mean(logged) == 9.0
