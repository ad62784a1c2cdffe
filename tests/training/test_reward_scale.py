"""Tasks with large and small rewards become comparable, whatever their units are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.drop_in import unequal
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareConfig, DurationAwareTrainer, MLEReward
from trl_mle.errors import ConfigError
from trl_mle.scripts.build import reward_functions
from trl_mle.training.reward_scale import DECAY, MOST_KEYS, RunningScale, scale_keys

GROUPS = st.lists(
    st.lists(st.integers(-100, 100).map(lambda n: n / 8), min_size=4, max_size=4), min_size=1, max_size=20
)


def observed(groups, factor=1.0):
    scale = RunningScale()
    for group in groups:
        scale.observe("a", torch.tensor(group) * factor)
    return scale


def test_the_mean_is_over_variances_and_the_newest_counts_most():
    expected = ((2.0 * DECAY + 8.0) / (DECAY + 1.0)) ** 0.5
    assert observed([[0.0, 2.0], [0.0, 4.0]]).std("a") == pytest.approx(expected)


def test_groups_of_equal_rewards_and_single_rewards_do_not_count():
    assert observed([[1.0, 1.0], [5.0]]).std("a") is None
    assert observed([[0.0, 2.0], [1.0, 1.0]]).std("a") == observed([[0.0, 2.0]]).std("a")


@given(groups=GROUPS, exponent=st.integers(-3, 3))
def test_another_unit_of_the_reward_changes_nothing(groups, exponent):
    factor = 2.0**exponent
    std, scaled = observed(groups).std("a"), observed(groups, factor).std("a")
    assert scaled == (None if std is None else pytest.approx(std * factor))


def test_keys_are_bounded_and_survive_a_checkpoint():
    scale = RunningScale()
    for key in range(MOST_KEYS + 5):
        scale.observe(key, torch.tensor([0.0, 1.0]))
    assert scale.std(4) is None and scale.std(5) is not None
    again = RunningScale()
    again.load_state_dict(scale.state_dict())
    assert again.state_dict() == scale.state_dict() and len(again.state_dict()["sums"]) == MOST_KEYS


def test_a_missing_column_is_named():
    with pytest.raises(ConfigError, match="'kind', but the data set has the columns prompt, task"):
        scale_keys([{"prompt": "p", "task": "a"}], "kind")


def test_scales_of_trl_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="scale_rewards: none"):
        DurationAwareConfig(str(tmp_path), use_cpu=True, bf16=False, reward_scale_column="task")


@pytest.mark.parametrize("aggregation", ["parts", "rank"])
def test_scales_that_come_with_the_aggregation_of_rewards_are_refused(tmp_path, aggregation):
    args = tiny_args(tmp_path, scale_rewards="none", reward_scale_column="task")
    functions = reward_functions(MLEReward(), aggregation, args)
    with pytest.raises(ConfigError, match="`reward_scale_column` is 'task', but"):
        DurationAwareTrainer(
            model=tiny_model(),
            reward_funcs=functions,
            args=args,
            train_dataset=tiny_dataset(),
            processing_class=tiny_tokenizer(),
        )


@pytest.mark.parametrize("where", ["train_dataset", "eval_dataset"])
def test_a_data_set_without_the_column_is_refused_before_anything_runs(tmp_path, where):
    dataset = tiny_dataset().add_column("task", ["a"] * 8)
    datasets = {"train_dataset": dataset, "eval_dataset": {"small": dataset}}
    datasets[where] = tiny_dataset() if where == "train_dataset" else {"small": tiny_dataset()}
    with pytest.raises(ConfigError, match="`reward_scale_column` is 'task', but the data set has the columns prompt"):
        DurationAwareTrainer(
            model=tiny_model(),
            reward_funcs=rewards,
            args=tiny_args(tmp_path, scale_rewards="none", reward_scale_column="task", eval_strategy="steps"),
            processing_class=tiny_tokenizer(),
            **datasets,
        )


def rewards(completions, task, log_extra, **kwargs):
    log_extra("action_duration", unequal(completions))
    return [
        sum(map(ord, text)) % 7 * (100.0 if name == "large" else 0.01)
        for text, name in zip(completions, task, strict=True)
    ]


def test_tasks_of_different_scales_have_advantages_of_one_size(tmp_path):
    kept = []

    class Recording(DurationAwareTrainer):
        def _generate_and_score_completions(self, inputs):
            output = super()._generate_and_score_completions(inputs)
            kept.append((output["advantages"], list(self._logs["advantages"])[-8:], [row["task"] for row in inputs]))
            return output

    dataset = tiny_dataset().add_column("task", ["large", "small"] * 4)
    settings = {"scale_rewards": "none", "reward_scale_column": "task", "duration_weighting": "none", "max_steps": 4}
    trainer = Recording(
        model=tiny_model(),
        reward_funcs=rewards,
        args=tiny_args(tmp_path, **settings, save_strategy="steps", save_steps=4),
        train_dataset=dataset,
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    sizes = {"large": [], "small": []}
    for advantages, plain, names in kept:
        for ours, theirs, name in zip(advantages.tolist(), plain, names, strict=True):
            sizes[name].append(abs(ours))
            assert ours * theirs >= 0
    means = {name: sum(values) / len(values) for name, values in sizes.items()}
    assert all(0.3 < mean < 1.5 for mean in means.values()), means
    (state,) = (tmp_path / "checkpoint-4").glob("trainer_parts_0.pt")
    assert {key for key, *_ in torch.load(state, weights_only=True)["reward_scale"]["sums"]} == {"large", "small"}
