"""What rollouts with tools rely on inside TRL and accelerate: one test per point."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest
from accelerate.state import AcceleratorState
from accelerate.utils import DeepSpeedPlugin
from trl import GRPOConfig, GRPOTrainer

from tests.support import drop_in_tools
from tests.support.drop_in import letters
from tests.support.tiny import tiny_args
from tests.support.tool_loop import Loop, Tools, call, first_turns, scripted_trainer, written


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    """A GRPOTrainer with asynchronous tools and an environment after one step, with what it was given and returned on the way."""

    class Recording(GRPOTrainer):
        def _tool_call_loop(self, *args):
            self.arguments = args
            self.dicts = self._sync_tool_dicts, self._async_tool_dicts
            self.completions_before = args[3]
            self.returned = super()._tool_call_loop(*args)
            return self.returned

    made = Recording(
        model=drop_in_tools.calling_model(),
        reward_funcs=letters,
        args=tiny_args(tmp_path_factory.mktemp("tools"), GRPOConfig, max_steps=1, max_completion_length=120),
        train_dataset=drop_in_tools.conversations(),
        processing_class=drop_in_tools.tokenizer(),
        tools=[drop_in_tools.later_double],
        environment_factory=drop_in_tools.Counter,
    )
    made.train()
    return made


def test_overridden_methods_have_these_parameters():
    def parameters(function):
        return list(inspect.signature(function).parameters)[1:]

    expected = ["prompts", "prompt_ids", "completion_ids", "completions", "logprobs", "images", "multimodal_fields"]
    assert parameters(GRPOTrainer._tool_call_loop) == expected
    assert parameters(GRPOTrainer._generate_single_turn)[:4] == [
        "prompt_ids",
        "images",
        "multimodal_fields",
        "num_generations",
    ]


def test_the_loop_is_called_with_one_list_of_messages_for_each_rollout(trainer):
    prompts, prompt_ids, completion_ids, completions, logprobs, images, fields = trainer.arguments
    assert len(prompts) == len(prompt_ids) == len(completion_ids) == len(completions) == 8
    assert all(message["role"] == "assistant" for each in completions for message in each[:1])
    assert (logprobs, images, fields) == (None, None, {})


def test_the_loop_returns_seven_values(trainer):
    masks, completions, completion_ids, logprobs, calls, failures, images = trainer.returned
    assert [len(mask) for mask in masks] == [len(ids) for ids in completion_ids]
    assert completions is trainer.completions_before
    assert (logprobs, images) == (None, [[] for _ in range(8)])
    assert 0 < failures < calls


def test_each_rollout_has_its_tools_in_two_dictionaries(trainer):
    sync_dicts, async_dicts = trainer.dicts
    assert [set(tools) for tools in sync_dicts] == [{"add"}] * 8
    assert [set(tools) for tools in async_dicts] == [{"double"}] * 8
    assert len({tools["add"].__self__ for tools in sync_dicts}) == 8


def test_asynchronous_tools_have_an_event_loop_in_another_thread(trainer):
    assert trainer.async_loop.is_running()


def test_these_attributes_are_there(trainer):
    assert trainer._is_vlm is False
    assert trainer.use_vllm is False
    assert trainer.max_tool_calling_iterations > 1000
    assert trainer.eos_token_ids == [1]
    assert trainer._tokenizer.eos_token_id == 1
    assert trainer.tools


def test_a_shared_inference_engine_is_told_by_these_settings(trainer):
    assert trainer.args.vllm_mode in ("server", "colocate")
    assert trainer.args.vllm_tensor_parallel_size == 1
    assert trainer.args.vllm_enable_sleep_mode is False


def test_sharded_parameters_are_told_by_these_plugins():
    names = inspect.getsource(AcceleratorState)
    assert "self.fsdp_plugin = fsdp_plugin" in names
    assert "def deepspeed_plugin(self)" in names
    assert "zero_stage" in {field.name for field in fields(DeepSpeedPlugin)}


def test_one_iteration_advances_only_rollouts_whose_first_message_has_tool_calls():
    with Loop() as loop:
        made = scripted_trainer(lambda ids: written(call("later", x=2)), [Tools(0), Tools(1)], loop, iterations=1)
        arguments = first_turns(made, [call("later", x=1)] * 2)
        arguments["completions"][0] = [{}]
        before = list(arguments["completion_ids"])
        _, said, ids, *_ = made._tool_call_loop(*arguments.values())
    assert said[0] == [{}]
    assert ids[0] == before[0]
    assert [message["role"] for message in said[1]] == ["assistant", "tool", "assistant"]
    assert made.batches == [1]


def test_a_result_that_is_too_long_leaves_the_message_that_asked_for_it():
    with Loop() as loop:
        made = scripted_trainer(lambda ids: written("done"), [Tools(0)], loop, max_completion_length=60)
        _, said, *_ = made._tool_call_loop(*first_turns(made, [call("later", x=1) + "x" * 30]).values())
    assert [message["role"] for message in said[0]] == ["assistant"]


def test_a_turn_without_room_for_a_token_leaves_no_message():
    with Loop() as loop:
        made = scripted_trainer(lambda ids: written("done"), [Tools(0)], loop)
        arguments = first_turns(made, [call("later", x=1)])
        suffix = made._get_tool_suffix_ids(
            [{"role": "tool", "name": "later", "content": "{'row': 0, 'x': 1, 'sum': 0}"}]
        )
        made.max_completion_length = len(arguments["completion_ids"][0]) + len(suffix)
        masks, said, *_ = made._tool_call_loop(*arguments.values())
    assert [message["role"] for message in said[0]] == ["assistant", "tool"]
    assert masks[0][-1] == 0
