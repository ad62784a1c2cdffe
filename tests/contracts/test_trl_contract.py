"""What this package relies on inside TRL, transformers and accelerate: one test per point.

A new version that breaks the trainers fails here as a list that says what has changed.
"""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections import defaultdict
from dataclasses import fields
from importlib.resources import files
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import DataLoaderAdapter, DataLoaderDispatcher, DataLoaderShard
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer_callback import ProgressCallback, TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer import utils

from tests.support import drop_in_tools
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.support.trl_async import VLLM_CLIENT, tree_attention
from trl_mle import AsyncDurationAwareTrainer
from trl_mle.training.async_grpo.trl_imports import (
    STABLE,
    AsyncGRPOConfig,
    AsyncGRPOTrainer,
    AsyncRolloutLoop,
    AsyncRolloutWorker,
    RolloutGroup,
    RolloutSample,
    async_grpo_trainer,
)
from trl_mle.training.model_card import ANCHOR, PAPER

WORKER = sys.modules[AsyncRolloutWorker.__module__]


def parameters(function) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def source(function) -> str:
    return inspect.getsource(function)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """A GRPOTrainer after one step, with what it was given and returned on the way."""

    class Recording(GRPOTrainer):
        def _generate(self, prompts):
            self.generated = super()._generate(prompts)
            return self.generated

        def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
            self.pending = {name: list(values) for name, values in self._pending_extra_logs.items()}
            self.rewards_shape = rewards.shape
            return rewards

        def _generate_and_score_completions(self, inputs):
            self.output = super()._generate_and_score_completions(inputs)
            return self.output

        def _get_per_token_logps_and_entropies(self, *args, **kwargs):
            self.logps = super()._get_per_token_logps_and_entropies(*args, **kwargs)
            return self.logps

    def reward(completions, log_extra, log_metric, trainer_state, completion_ids, prompts, **kwargs):
        log_extra("action_duration", [1.0] * len(completions))
        log_metric("programs/valid_share", 0.5)
        return [None if row == 0 else float(len(set(text))) for row, text in enumerate(completions)]

    trainer = Recording(
        model=tiny_model(),
        reward_funcs=reward,
        args=tiny_args(tmp_path_factory.mktemp("contract"), GRPOConfig, max_steps=1),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("_generate", ["prompts"]),
        ("_calculate_rewards", ["inputs", "prompts", "completions", "completion_ids_list"]),
        ("_generate_and_score_completions", ["inputs"]),
        ("_log_completion_extra", ["column", "values"]),
        ("_determine_best_metric", ["metrics", "trial"]),
        ("_log_metric", ["name", "value"]),
        ("_save_checkpoint", ["model", "trial"]),
        ("_load_optimizer_and_scheduler", ["checkpoint"]),
        ("_save_rng_state", ["output_dir"]),
        ("_get_train_sampler", ["dataset"]),
        ("create_model_card", ["model_name", "dataset_name", "tags"]),
    ],
)
def test_overridden_methods_of_grpo_have_these_parameters(method, expected):
    assert parameters(getattr(GRPOTrainer, method)) == expected


def test_a_model_is_saved_without_a_push_by_this_parameter():
    assert parameters(GRPOTrainer.save_model) == ["output_dir", "_internal_call"]
    assert "if self.args.push_to_hub and not _internal_call:" in source(Trainer.save_model)


def test_a_push_leaves_out_checkpoints_and_what_begins_with_an_underscore():
    for push in (Trainer.push_to_hub, Trainer._push_from_checkpoint):
        assert 'ignore_patterns=["_*", f"{PREFIX_CHECKPOINT_DIR}-*"]' in source(push)


def test_log_probabilities_are_asked_for_by_these_parameters():
    names = parameters(GRPOTrainer._get_per_token_logps_and_entropies)
    assert names[:5] == ["model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"]


def test_log_probabilities_come_with_two_more_values(trainer):
    assert len(trainer.logps) == 3


def test_the_watch_for_collapse_reads_these_metrics(trainer):
    assert {"entropy", "reward"} <= set(trainer.state.log_history[0])
    assert isinstance(trainer._metrics["train"]["entropy"], list)


def test_generation_returns_eight_values(trainer):
    prompt_ids, completion_ids, tool_mask, completions, logps, extra, images, tool_images = trainer.generated
    assert len(prompt_ids) == len(completion_ids) == len(completions) == 8
    assert (tool_mask, logps, extra, images) == (None, None, {}, None)
    assert not tool_images


def test_extra_columns_wait_in_pending_extra_logs(trainer):
    assert trainer.pending == {"action_duration": [1.0] * 8}
    assert isinstance(trainer._pending_extra_logs, defaultdict)
    assert isinstance(trainer._pending_metrics, defaultdict)


def test_rewards_are_global_with_nan_for_none(trainer):
    assert trainer.rewards_shape == (8, 1)
    assert torch.equal(trainer.reward_weights, torch.ones(1))


def test_the_log_of_completions_has_these_parts(trainer):
    assert set(trainer._logs) >= {"prompt", "completion", "rewards", "advantages", "extra", "images"}
    assert list(trainer._logs["extra"]["action_duration"]) == [1.0] * 8
    assert trainer._logs["prompt"].maxlen == trainer.args.generation_batch_size == 8


def test_metrics_are_lists_by_mode(trainer):
    assert set(trainer._metrics) == {"train", "eval"}
    assert isinstance(trainer._metrics["train"], defaultdict)


def test_a_batch_has_these_tensors(trainer):
    assert {"advantages", "completion_mask", "completion_ids", "prompt_ids", "prompt_mask"} <= set(trainer.output)
    assert trainer.output["advantages"].shape == (8,)
    assert trainer.output["advantages"][0] == 0  # the completion without a reward


def test_advantages_may_have_one_value_per_token():
    text = " ".join(source(GRPOTrainer._compute_loss).split())
    assert 'advantages = inputs["advantages"]' in text
    assert "if advantages.dim() == 1: advantages = advantages.unsqueeze(1)" in text


def test_advantages_are_divided_by_a_standard_deviation_like_this():
    """Advantages of actions have the same divisor."""
    text = source(GRPOTrainer._generate_and_score_completions)
    assert "advantages = advantages / (std_rewards + 1e-4)" in text
    assert "std_rewards = nanstd(rewards.view(-1, num_generations), dim=1)" in text
    assert "std_rewards = nanstd(rewards).expand_as(rewards)" in text


def test_old_log_probabilities_of_a_batch_reach_the_loss():
    assert 'inputs.get("old_per_token_logps")' in source(GRPOTrainer._compute_loss)


def test_old_log_probabilities_are_asked_for_first_and_under_this_condition():
    """Overlap answers the first call of a batch from its rows, under the same condition."""
    text = " ".join(source(GRPOTrainer._generate_and_score_completions).split())
    before_first_call, _, rest = text.partition("self._get_per_token_logps_and_entropies(")
    assert before_first_call.endswith(
        "generate_every = self.args.steps_per_generation * self.num_iterations # generation frequency "
        "if self.args.gradient_accumulation_steps % generate_every != 0 or ( "
        "self.use_vllm and self.vllm_importance_sampling_correction ): old_per_token_logps, _, _ = "
    )
    assert rest.startswith(" self.model, ")
    assert "ref_per_token_logps, _, _ = self._get_per_token_logps_and_entropies( self.ref_model, " in text


def test_the_mask_of_tool_tokens_reaches_the_batch():
    assert 'output["tool_mask"] = tool_mask' in source(GRPOTrainer._generate_and_score_completions)


@pytest.mark.parametrize(
    "attribute",
    [
        "_is_vlm",
        "_tokenizer",
        "accelerator",
        "environment_factories",
        "eos_token_ids",
        "hub_model_id",
        "num_generations",
        "num_iterations",
        "reward_func_names",
        "reward_funcs",
        "reward_weights",
        "tools",
        "use_vllm",
        "vllm_importance_sampling_correction",
    ],
)
def test_grpo_has_the_attribute(trainer, attribute):
    assert hasattr(trainer, attribute)


def test_the_event_loop_of_async_rewards_is_async_loop():
    assert "self.async_loop," in source(GRPOTrainer.__init__)


def test_a_reward_functions_error_is_not_caught_by_grpo():
    assert "except" not in source(GRPOTrainer._calculate_rewards)


def test_the_model_card_has_the_headings_and_the_paper():
    template = files("trl").joinpath("templates/lm_model_card.md").read_text()
    assert ANCHOR in template
    assert re.search(r"## Quick start\n.*?\n## ", template, re.DOTALL)
    assert set(PAPER) == set(GRPOTrainer._paper)
    assert isinstance(GRPOTrainer._tag_names, list)


def test_helpers_of_trl_have_these_parameters():
    assert parameters(utils.pad)[:3] == ["tensors", "padding_value", "padding_side"]
    assert parameters(utils.is_async_callable) == ["func"]
    assert parameters(utils.start_event_loop_in_daemon) == ["name"]
    assert len(parameters(disable_gradient_checkpointing)) == 2


def test_settings_that_the_configuration_reads():
    names = {item.name for item in fields(GRPOConfig)}
    assert names >= {
        "generation_batch_size",
        "gradient_accumulation_steps",
        "mask_truncated_completions",
        "max_completion_length",
        "multi_objective_aggregation",
        "num_iterations",
        "scale_rewards",
        "steps_per_generation",
    }


def test_callbacks_keep_state_in_the_trainers_state():
    assert "stateful_callbacks" in {item.name for item in fields(TrainerState)}


def test_checkpoints_and_progress_of_transformers():
    assert PREFIX_CHECKPOINT_DIR == "checkpoint"
    assert parameters(Trainer._get_output_dir) == ["trial"]
    assert "self.training_bar" in source(ProgressCallback)


def test_place_within_the_generation_batch(trainer):
    assert trainer._step == 1
    assert len(trainer._buffered_inputs) == trainer.args.steps_per_generation
    assert (trainer._tr_loss.shape, trainer._globalstep_last_logged) == ((), 1)
    assert isinstance(trainer._total_loss_scalar, float)
    prepare = source(GRPOTrainer._prepare_inputs)
    assert "self._step % generate_every == 0 or self._buffered_inputs is None" in prepare
    assert "self._buffered_inputs[self._step % self.args.steps_per_generation]" in prepare


def test_the_sampler_draws_one_permutation_per_epoch():
    samplers = [utils.RepeatSampler(range(9), mini_repeat_count=1, seed=3) for _ in range(2)]
    torch.randperm(9, generator=samplers[1].generator)
    first, second = list(samplers[0]), list(samplers[0])
    assert first != second
    assert second == list(samplers[1])


def test_the_state_of_the_trainer_is_saved_after_the_random_state_and_before_checkpoints_are_deleted():
    text = source(Trainer._save_checkpoint)
    order = ["save_model(", "_save_rng_state(", "save_to_json(", "rotate_checkpoints("]
    assert [name for _, name in sorted((text.index(name), name) for name in order)] == order


class TestAsynchronousTrainer:
    def test_overridden_methods(self):
        assert parameters(AsyncGRPOTrainer.get_batch_samples) == ["epoch_iterator", "num_batches", "device"]
        assert parameters(AsyncGRPOTrainer.get_train_dataloader) == []
        assert {"max_staleness", "max_completion_length"} <= {item.name for item in fields(AsyncGRPOConfig)}

    def test_the_trainer_has_the_parameters_of_trls(self):
        theirs, ours = (
            inspect.signature(trainer.__init__).parameters for trainer in (AsyncGRPOTrainer, AsyncDurationAwareTrainer)
        )
        assert list(ours) == list(theirs)
        assert [item.default for item in ours.values()] == [item.default for item in theirs.values()]
        assert [item.kind for item in ours.values()] == [item.kind for item in theirs.values()]

    def test_the_loop_knows_the_present_version_of_the_policy(self):
        loop = AsyncRolloutLoop.__new__(AsyncRolloutLoop)
        loop._model_version_value = SimpleNamespace(value=3)
        assert loop.model_version == 3

    def test_what_the_trainer_has(self):
        text = source(AsyncGRPOTrainer)
        for attribute in ("rollout_queue", "rollout_worker", "model_version", "_metrics"):
            assert f"self.{attribute}" in text

    def test_workers_can_be_injected(self):
        assert {"rollout_worker", "weight_transfer"} <= set(parameters(AsyncGRPOTrainer.__init__))

    def test_a_sample_has_these_fields(self):
        assert {item.name for item in fields(RolloutSample)} >= {
            "input_ids",
            "completion_mask",
            "old_log_probs",
            "advantage",
            "model_version",
            "group_id",
            "metrics",
        }

    def test_the_version_of_a_sample_can_be_set(self):
        assert not RolloutSample.__dataclass_params__.frozen

    def test_a_group_has_these_fields(self):
        names = {item.name for item in fields(RolloutGroup)}
        assert names >= {"completions", "completions_sequences", "reward_kwargs"}

    @pytest.mark.parametrize(
        ("method", "expected"),
        [
            ("_run_loops", ["stop_event"]),
            ("_score_loop", ["stop_event"]),
            ("_score_group", ["group"]),
            ("_push_metrics", ["values"]),
            ("_generate_one", ["prompt", "tool_dict", "tools", "group_id"]),
        ],
    )
    def test_the_loop_has_the_method(self, method, expected):
        assert parameters(getattr(AsyncRolloutLoop, method)) == expected

    def test_the_worker_takes_the_loop_from_a_class_attribute(self):
        assert AsyncRolloutWorker._loop_cls is AsyncRolloutLoop

    def test_the_worker_hands_its_settings_to_the_loop(self):
        assert "self._loop_kwargs = loop_kwargs" in source(AsyncRolloutWorker.__init__)
        assert "**loop_kwargs" in source(WORKER._child_main)

    def test_the_loop_asks_for_completions_in_the_order_of_groups_and_names_the_group(self):
        """Pacing holds a group back where its completions are generated."""
        assert "self._generate_one(prompt, tool_dict=tool_dict, tools=tools, group_id=group_id)" in source(
            AsyncRolloutLoop._generate_loop
        )
        loop = AsyncRolloutLoop.__new__(AsyncRolloutLoop)
        loop.dataset, loop._dataset_iter, loop.num_generations = [{"a": 1}], iter([{"a": 1}]), 2
        assert [group for group, _ in itertools.islice(loop._repeat_iterator(), 5)] == [0, 0, 1, 1, 2]

    def test_what_the_loop_pushes_is_what_scoring_a_group_returns(self):
        """Pacing returns the samples of other groups, or none."""
        text = source(AsyncRolloutLoop._score_loop)
        assert "samples = await self._score_group(group)" in text
        assert "for sample in samples:" in text
        assert "self.rollout_buffer.put_nowait(sample)" in text

    def test_the_worker_starts_when_training_begins(self):
        """Its settings are told by a callback that stands before TRL's."""
        text = source(async_grpo_trainer._TrainBeginCallback)
        assert text.index("def on_train_begin") < text.index("rollout_worker.start()")

    def test_the_learner_takes_micro_batches_of_a_known_size_without_a_token_budget(self):
        assert "self.args.per_device_train_batch_size * num_processes" in source(AsyncGRPOTrainer.get_train_dataloader)
        assert "self._sync_weight, self.args.weight_sync_steps" in source(AsyncGRPOTrainer.__init__)

    def test_a_group_carries_its_version(self):
        assert {"model_version", "group_id"} <= {item.name for item in fields(RolloutGroup)}
        assert "model_version=group.model_version" in source(AsyncRolloutLoop._score_group)

    def test_the_module_has_what_tests_replace(self):
        assert hasattr(async_grpo_trainer, VLLM_CLIENT)
        assert hasattr(async_grpo_trainer, "get_peak_flops_per_device")
        assert hasattr(WORKER, "is_vllm_available")
        assert tree_attention()

    def test_batches_say_which_sample_a_token_is_of(self):
        assert '"segment_id"' in source(AsyncGRPOTrainer)

    def test_packed_rows_have_their_samples(self):
        row = async_grpo_trainer.TreeRow()
        sample = {"input_ids": torch.tensor([1, 2]), "completion_mask": torch.tensor([0, 1]), "group_id": 0}
        row.add(sample)
        assert row.samples == [sample]

    def test_the_collator_of_the_loader_can_be_replaced(self):
        loader = DataLoader([1, 2], batch_size=1, collate_fn=list)
        for prepared in (
            loader,
            DataLoaderShard([1, 2], collate_fn=list),
            DataLoaderDispatcher([1, 2], collate_fn=list),
        ):
            getattr(prepared, "base_dataloader", prepared).collate_fn = lambda examples: {
                "table": torch.tensor(examples)
            }
            assert [batch["table"].item() for batch in prepared] == [1, 2]

    @pytest.mark.skipif(STABLE, reason="TRL's trainer is not experimental")
    def test_the_warning_of_experimental_modules_has_this_name(self):
        from trl.import_utils import TRLExperimentalWarning

        assert issubclass(TRLExperimentalWarning, Warning)

    def test_the_loader_of_several_processes_wraps_the_one_with_the_collator(self):
        assert issubclass(DataLoaderDispatcher, DataLoaderAdapter)
        assert "self.base_dataloader" in source(DataLoaderAdapter.__init__)


def test_tools_of_an_environment_are_the_functions_of_its_class(tmp_path):
    """`get_reward = None` on the class keeps it from being a second source of reward (`environments/spec.py`)."""

    class Base:
        def reset(self, **row) -> None: ...

        async def act(self, code: str) -> str:
            """
            Acts.

            Args:
                code: What to do.

            Returns:
                What came of it.
            """
            return code

        @property
        def state(self) -> int:
            raise AssertionError("TRL evaluates no property")

        def get_reward(self) -> float:
            return 0.0

    class Silent(Base):
        get_reward = None

        def __init__(self):
            self.get_reward = super().get_reward

    names = {}
    for environment in (Base, Silent):
        trainer = GRPOTrainer(
            model=drop_in_tools.calling_model(),
            processing_class=drop_in_tools.tokenizer(),
            args=tiny_args(tmp_path, GRPOConfig),
            train_dataset=drop_in_tools.conversations(),
            environment_factory=environment,
            reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
        )
        assert [tool.__name__ for tool in trainer.tools] == ["act"]
        names[environment] = trainer.reward_func_names[1:]
    assert names == {Base: ["Base"], Silent: []}


def test_the_callback_of_tensorboard_keeps_its_writer(tmp_path, monkeypatch):
    """`training/program_table.py` finds the writer among the trainer's callbacks."""
    from transformers.integrations import TensorBoardCallback

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "log"))
    trainer = GRPOTrainer(
        tiny_model(),
        lambda completions, **kwargs: [0.0] * len(completions),
        GRPOConfig(str(tmp_path), report_to="tensorboard", use_cpu=True, bf16=False),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    (callback,) = (entry for entry in trainer.callback_handler.callbacks if isinstance(entry, TensorBoardCallback))
    callback.on_train_begin(trainer.args, trainer.state, trainer.control)
    assert hasattr(callback.tb_writer, "add_text")
