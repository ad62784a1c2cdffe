"""Each feature of `trl.GRPOTrainer` that works on a CPU: `none` and equal durations train to the bit as TRL, others to the end."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import pytest
from peft import LoraConfig

from tests.support import drop_in
from tests.support import drop_in_tools as tools
from tests.support.drop_in import Feature, assert_finite, assert_same, join, run, same_parameters, settings
from tests.support.tiny import tiny_dataset


def rollouts(prompts, trainer):
    """Completions of a text instead of the policy's own."""
    encode = trainer.processing_class
    texts = [f"answer {index} to {prompt}"[: 6 + index] for index, prompt in enumerate(prompts)]
    ids = [encode(text)["input_ids"] for text in texts]
    return {
        "prompt_ids": [encode(prompt)["input_ids"] for prompt in prompts],
        "completion_ids": ids,
        "logprobs": [[-5.5] * len(each) for each in ids],
    }


ENDS = {"sequence_bias": {(1,): 4.0}}  # a model with random weights would hardly ever end

CALLS = {
    "model": tools.calling_model,
    "processing_class": tools.tokenizer,
    "train_dataset": tools.conversations,
}
FEATURES: dict[str, Feature] = {
    **{
        f"loss {name}": settings(loss_type=name)
        for name in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo")
    },
    "loss luspo": settings(loss_type="luspo", importance_sampling_level="sequence"),
    "scale_rewards batch": settings(scale_rewards="batch"),
    "scale_rewards none": settings(scale_rewards="none"),
    "reference model": settings(beta=0.1),
    "bias correction of KL": settings(beta=0.1, use_bias_correction_kl=True),
    "sync_ref_model": settings(beta=0.1, sync_ref_model=True, ref_model_sync_steps=1),
    "num_iterations": settings(num_iterations=2),
    "steps_per_generation": settings(steps_per_generation=2),
    "gradient accumulation": settings(gradient_accumulation_steps=2),
    "mask_truncated_completions": settings(mask_truncated_completions=True, generation_kwargs=ENDS),
    "importance_sampling_level": settings(importance_sampling_level="sequence"),
    "epsilon_high": settings(epsilon_high=0.3),
    "delta": settings(delta=1.5),
    "top_entropy_quantile": settings(top_entropy_quantile=0.5),
    "entropy_coef": settings(entropy_coef=0.01),
    "adaptive entropy": settings(use_adaptive_entropy=True, entropy_target=2.0),
    "off_policy_mask": settings(off_policy_mask_threshold=0.5),
    "sampling": settings(temperature=0.8, top_p=0.9, top_k=50, min_p=0.01, repetition_penalty=1.1),
    "pad_to_multiple_of": settings(pad_to_multiple_of=8),
    "gradient checkpointing": settings(gradient_checkpointing=True),
    "dataset in order": settings(shuffle_dataset=False),
    "evaluation": Feature(
        {"eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True, "num_generations_eval": 2},
        {"eval_dataset": lambda: tiny_dataset(4).add_column("row", list(range(4)))},
    ),
    "log_completions": settings(log_completions=True, num_completions_to_print=2, log_unique_prompts=True),
    "several reward functions": Feature({"reward_weights": [0.7, 0.3]}, rewards=(drop_in.letters, drop_in.later)),
    "normalize_then_sum": settings(multi_objective_aggregation="normalize_then_sum"),
    "rewards None": Feature(rewards=(drop_in.some_none,)),
    "async reward function": Feature(rewards=(drop_in.later,)),
    "log_extra, log_metric, columns": Feature(rewards=(drop_in.logging_reward,)),
    "reward model": Feature(
        parameters={"reward_processing_classes": lambda: [drop_in.tiny_tokenizer(), None]},
        rewards=(drop_in.reward_model, drop_in.letters),
        overlap=False,
    ),
    "LoRA": Feature({"beta": 0.1}, {"peft_config": lambda: LoraConfig(r=2, target_modules=["q_proj", "v_proj"])}),
    "conversations": Feature(
        {"chat_template_kwargs": {"loud": True}},
        {"train_dataset": drop_in.conversations, "processing_class": drop_in.chat_tokenizer},
    ),
    "iterable dataset": Feature(
        {"accelerator_config": {"dispatch_batches": False}},
        {"train_dataset": lambda: tiny_dataset().add_column("row", list(range(8))).to_iterable_dataset()},
    ),
    "tools": Feature({"max_completion_length": 120}, {**CALLS, "tools": lambda: [tools.double]}, overlap=False),
    "environments": Feature(
        {"max_completion_length": 120}, {**CALLS, "environment_factory": lambda: tools.Counter}, overlap=False
    ),
    "asynchronous tools": Feature(
        {"max_completion_length": 120}, {**CALLS, "tools": lambda: [tools.later_double]}, overlap=False
    ),
    "asynchronous environments": Feature(
        {"max_completion_length": 120}, {**CALLS, "environment_factory": lambda: tools.LaterCounter}, overlap=False
    ),
    "rollout_func with tools": Feature(
        {"max_completion_length": 120},
        {**CALLS, "tools": lambda: [tools.later_double], "rollout_func": lambda: tools.calling_rollouts},
        overlap=False,
    ),
    "rollout_func": Feature(parameters={"rollout_func": lambda: rollouts}),
}

COMBINATIONS = [
    ["loss grpo", "scale_rewards batch", "num_iterations", "several reward functions", "importance_sampling_level"],
    ["loss bnpo", "LoRA", "gradient accumulation", "log_completions", "evaluation", "bias correction of KL"],
    [
        "loss dr_grpo",
        "scale_rewards none",
        "steps_per_generation",
        "mask_truncated_completions",
        "async reward function",
    ],
    ["loss dapo", "sync_ref_model", "delta", "gradient checkpointing", "top_entropy_quantile", "rewards None"],
    ["loss cispo", "sampling", "epsilon_high", "reward model"],
    ["loss sapo", "conversations", "pad_to_multiple_of", "off_policy_mask", "log_extra, log_metric, columns"],
    ["loss luspo", "adaptive entropy", "iterable dataset", "reference model", "normalize_then_sum"],
    ["loss vespo", "rollout_func", "entropy_coef", "dataset in order"],
    ["tools", "environments"],
    ["asynchronous tools", "asynchronous environments", "rollout_func with tools"],
]
"""Features that are tried together, so that all of them take seconds. Each feature is in one."""
SLOW = ("loss dr_grpo", "loss cispo", "loss sapo", "loss vespo")
"""First features of the combinations that the default run leaves out. Their losses are in `test_loss.py`, too."""


def check(folder, feature: Feature, equal_s: float = 3.7) -> None:
    theirs = run(folder / "trl", feature)
    if {"tools", "environment_factory"} & set(feature.parameters):
        assert 0 < theirs.metrics[0]["tools/failure_frequency"] < 1, "calls were made, and one was wrong"
    assert_same(run(folder / "none", feature, drop_in.unequal, duration_weighting="none"), theirs)
    equal = run(folder / "equal", feature, lambda texts: [equal_s] * len(texts), duration_weighting="proportional")
    assert_same(equal, theirs)
    weighed = run(folder / "weighed", feature, drop_in.unequal, duration_weighting="proportional")
    assert_finite(weighed)
    assert not same_parameters(weighed.parameters, theirs.parameters), "nothing was learned, so nothing was compared"
    if feature.overlap:
        assert_finite(run(folder / "overlap", feature, drop_in.unequal, overlap_execution=True, overlap_batches=1))


@pytest.mark.parametrize(
    ("names", "equal_s"),
    [
        pytest.param(*each, id="+".join(each[0]), marks=[pytest.mark.slow] if each[0][0] in SLOW else [])
        for each in zip(COMBINATIONS, cycle((0.0, 0.1, 3.7)))
    ],
)
def test_features_together(tmp_path, names, equal_s):
    check(tmp_path, join([FEATURES[name] for name in names]), equal_s)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_each_feature(tmp_path, name):
    check(tmp_path, FEATURES[name])


@pytest.mark.slow
@pytest.mark.parametrize("names", COMBINATIONS, ids="+".join)
def test_features_with_replaced_groups(tmp_path, names):
    feature = join([FEATURES[name] for name in names if name != "sync_ref_model"])
    # The reward is this test's own; settings that belong to others would not fit it.
    changed = {**feature.settings, "reward_weights": None, "max_steps": 4}
    made = {name: make for name, make in feature.parameters.items() if name != "reward_processing_classes"}
    feature = replace(feature, settings=changed, parameters=made, rewards=(drop_in.equal_in_some_groups,))
    ended = run(tmp_path / "replaced", feature, drop_in.unequal, replace_flat_groups=True)
    assert_finite(ended)
    assert max(entry.get("groups/replaced_share", 0) for entry in ended.metrics) > 0


def test_each_feature_is_tried():
    assert {name for names in COMBINATIONS for name in names} == set(FEATURES)
