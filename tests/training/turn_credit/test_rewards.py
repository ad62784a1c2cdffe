"""What reward functions report of actions: what is wrong is named, whoever reported it."""

from __future__ import annotations

import pytest
import torch

from trl_mle import DurationAwareConfig
from trl_mle.errors import ConfigError, CreditError
from trl_mle.training.turn_credit.rewards import gather_turn_rewards
from trl_mle.training.weighting.actions import read_actions


def gather(rewards, scorable=None, actions=None, **columns):
    logged = {**({} if rewards is None else {"per_action_rewards": rewards}), **columns}
    rows = 2 if rewards is None else len(rewards)
    known = torch.tensor([True] * rows if scorable is None else scorable)
    return gather_turn_rewards(logged, [5] * len(known), known, actions, ["reward"])


def test_rewards_alone_say_how_many_actions_there_are():
    found = gather([[0.5, 1], [2.0]])
    assert found.values.tolist() == [0.5, 1.0, 2.0]
    assert found.actions.rows.tolist() == [0, 0, 1]
    assert found.actions.seconds.isnan().all()
    assert gather([[0.5, 1], [2.0]], action_tokens=[[2, 3], None]).actions.tokens == [[2, 3], None]


@pytest.mark.parametrize("reported", [None, [], [None], [None, 3.0], 7, [1.0, 2.0, float("nan")]])
def test_what_is_reported_for_a_rollout_without_a_reward_does_not_matter(reported):
    actions = read_actions([[1.0, 2.0], [3.0]], None, [5, 5])
    assert gather([reported, [0.5]], [False, True], actions).values.tolist() == [0.0, 0.0, 0.5]
    assert gather([reported, [0.5]], [False, True]).values.tolist()[-1] == 0.5
    assert gather([reported, [0.5]], [False, True], action_tokens=[[1, 4], [5]]).values.tolist() == [0.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("reported", "shown"),
    [
        (None, "None"),
        ([], r"\[\]"),
        ([1.0, None], r"\[1.0, None\]"),
        (3.0, "3.0"),
        ([float("inf")], r"\[inf\]"),
        ("ab", "'ab'"),
        (["x" * 1000], r"..x{40,80}\.\.\."),
    ],
)
def test_impossible_rewards_are_named(reported, shown):
    with pytest.raises(CreditError, match=f"of completion 1 is {shown}.* but the completion has a reward"):
        gather([[1.0], reported])


def test_counts_that_do_not_fit_are_named():
    actions = read_actions([[1.0, 2.0], [3.0]], None, [5, 5])
    with pytest.raises(CreditError, match="completion 0 has 1 rewards for 2 actions"):
        gather([[1.0], [1.0]], actions=actions)
    with pytest.raises(CreditError, match="got 1 lists for 2 completions"):
        gather([[1.0]], [True, True])
    with pytest.raises(CreditError, match=r"No reward function reported rewards of actions.*turn_credit: episode"):
        gather(None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"turn_credit": "turn"}, "`turn_credit` is 'turn'; choose 'episode' or 'return'"),
        ({"turn_credit": "return", "turn_discount": 0.0}, "`turn_discount` is 0.0"),
        ({"turn_credit": "return", "turn_discount": 1.5}, "`turn_discount` is 1.5"),
        ({"turn_discount": 0.9}, "`turn_credit` is 'episode', which has no turns"),
        ({"turn_credit": "return", "multi_objective_aggregation": "normalize_then_sum"}, "reward_aggregation: sum"),
        ({"turn_credit": "return", "ranked_rewards": ["r"]}, "puts ranks in the place of rewards"),
    ],
)
def test_settings_that_cannot_work(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        DurationAwareConfig(str(tmp_path), use_cpu=True, bf16=False, **settings)
