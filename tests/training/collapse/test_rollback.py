"""Which checkpoint training goes back to, and what going back changes."""

from __future__ import annotations

import math

import pytest
import torch

from trl_mle.training.collapse.rollback import Health, checkpoints, choose, move_aside, scale_learning_rate, step_of


def history(rewards, alarms=()):
    return [Health(step, reward, step in alarms) for step, reward in enumerate(rewards)]


def test_the_best_rewarded_checkpoint_is_chosen():
    assert choose([2, 4, 6], history([0, 0, 1, 1, 5, 5, 2, 2, 2])) == 4


def test_a_checkpoint_is_judged_by_what_its_own_policy_wrote():
    # Update 5 broke the policy: batch 5 is still good, checkpoint 6 and batch 6 are not.
    assert choose([4, 6], history([0, 1, 2, 3, 4, 5, -9, -9], alarms={6, 7})) == 4


def test_a_checkpoint_that_no_batch_has_tried_is_not_chosen():
    assert choose([8], history([0, 1, 2, 3])) is None
    assert choose([], history([0, 1])) is None


def test_the_beginning_is_chosen_if_nothing_else_is_known_to_be_healthy():
    assert choose([0, 1, 2], history([0, -9, -9], alarms={1, 2})) == 0
    assert choose([0, 2], history([0, 1, 2, 3])) == 2


def test_batches_without_a_reward_say_nothing_good():
    assert choose([0, 2], history([1.0, 1.0, math.nan, math.nan])) == 0


def test_late_completions_are_those_of_earlier_policies():
    # With completions that may be 3 updates old, only batches from step 5 on can be those of checkpoint 2.
    assert choose([2], history([0, 1, 2, 3, 4]), lag=3) is None
    assert choose([2], history([0, 1, 2, 3, 4, 5]), lag=3) == 2


def test_later_checkpoints_are_moved_and_nothing_is_overwritten(tmp_path):
    for name in ("checkpoint-2", "checkpoint-4", "checkpoint-10", "_collapsed-4", "checkpoint-last", "other"):
        (tmp_path / name).mkdir()
    moved = move_aside(path for path in checkpoints(tmp_path) if step_of(path) > 2)
    assert [path.name for path in moved] == ["_collapsed-4-2", "_collapsed-10"]
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]
    assert (tmp_path / "_collapsed-4").exists()
    assert (tmp_path / "checkpoint-last").exists()


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_whole_schedule_is_scaled(schedule):
    from transformers import get_scheduler

    def rates(factor):
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=2, num_training_steps=10)
        found = []
        for step in range(10):
            if step == 4:
                scale_learning_rate(optimizer, scheduler, factor)
                # As a checkpoint keeps them.
                saved = optimizer.state_dict(), scheduler.state_dict()
                optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
                scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=2, num_training_steps=10)
                optimizer.load_state_dict(saved[0])
                scheduler.load_state_dict(saved[1])
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    plain, scaled = rates(1.0), rates(0.3)
    assert scaled[:4] == plain[:4]
    assert scaled[4:] == pytest.approx([0.3 * rate for rate in plain[4:]])
