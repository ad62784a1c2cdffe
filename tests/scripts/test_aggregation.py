"""The default of `reward_aggregation`: apart for new runs, unchanged for old ones, and never against another setting."""

import pytest

from tests.support.tiny import tiny_args
from trl_mle import MLEReward
from trl_mle.errors import ConfigError
from trl_mle.scripts.aggregation import choose_aggregation
from trl_mle.scripts.arguments import MLEArguments
from trl_mle.scripts.build import reward_functions
from trl_mle.scripts.checks import check_async


def chosen(tmp_path, value=None, checkpoint=None, **settings):
    mle_args = MLEArguments(tasks=["builtin:digits"], reward_aggregation=value)
    aggregation = choose_aggregation(mle_args, tiny_args(tmp_path, **settings), checkpoint)
    assert mle_args.reward_aggregation == aggregation, "`config.yaml` records the value, not that it was unset"
    return aggregation


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "parts"),
        ({"reward_weights": [2.0, 1.0]}, "parts"),
        ({"reward_weights": [1.0]}, "sum"),
        ({"scale_rewards": "none"}, "sum"),
        ({"scale_rewards": "none", "reward_scale_column": "task"}, "sum"),
        ({"ranked_rewards": ["mle_reward"]}, "sum"),
    ],
)
def test_a_new_run(tmp_path, settings, expected):
    assert chosen(tmp_path, **settings) == expected
    assert chosen(tmp_path, "rank", **settings) == "rank"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("mle: {reward_aggregation: gain}", "gain"),
        ("mle: {reward_aggregation: sum}", "sum"),
        ("mle: {tasks: [a]}", "sum"),  # begun before there was a choice
        ("mle: {reward_aggregation: null}", "parts"),
        ("mle: 3", "parts"),
        ("{", "parts"),
        (None, "parts"),
    ],
)
def test_a_resumed_run_keeps_what_it_was_begun_with(tmp_path, config, expected):
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    assert chosen(tmp_path, checkpoint=str(tmp_path / "checkpoint-2")) == expected
    assert chosen(tmp_path, "sum", checkpoint=str(tmp_path / "checkpoint-2")) == "sum", "the command wins"


def test_the_default_builds_two_reward_functions(tmp_path):
    args = tiny_args(tmp_path)
    functions = reward_functions(MLEReward(), chosen(tmp_path), args)
    assert [function.__name__ for function in functions] == ["validity_reward", "score_reward"]
    assert args.multi_objective_aggregation == "normalize_then_sum"


def test_the_asynchronous_trainer_refuses_a_choice_and_takes_the_default(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="knows 'sum' alone"):
        check_async(use_peft=True, reward_aggregation="parts")
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        check_async(use_peft=True, reward_aggregation=None)
