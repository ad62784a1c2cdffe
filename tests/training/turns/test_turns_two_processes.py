"""Rollouts with tools on two processes, one of which has more turns than the other."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

from tests.support.launching import launch_well
from tests.training.test_loss_two_processes import ENVIRONMENT

pytestmark = pytest.mark.slow


def records(folder, strategy, *scenarios):
    environment = ENVIRONMENT["zero" if strategy == "zero3" else strategy]
    if strategy == "zero3":
        settings = {
            "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
            "zero_allow_untested_optimizer": True,
            "gradient_clipping": "auto",
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
        }
        (folder / "deepspeed.json").write_text(json.dumps(settings))
        environment = {**environment, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(folder / "deepspeed.json")}
    launch_well("tests.support.turns_two_processes", folder, strategy, *scenarios, timeout_s=280, **environment)
    return {name: [torch.load(folder / f"{name}_{rank}.pt") for rank in range(2)] for name in scenarios}


def assert_each_rollout_has_its_own_turns(results):
    for rank, turns in enumerate(([1, 0, 1, 0], [3, 2, 0, 1])):
        assert results[rank]["calls"] == turns
        assert results[rank]["steps"] == 1
    # TRL's log has the rollouts of both processes.
    completions = results[0]["completions"]
    assert [sum(message["role"] == "tool" for message in each) for each in completions] == [1, 0, 1, 0, 3, 2, 0, 1]
    for row, messages in enumerate(completions):
        answers = [message["content"] for message in messages if message["role"] == "tool"]
        assert answers == [f"run {turn + 1} of process {row // 4}" for turn in range(len(answers))]


@pytest.mark.parametrize("strategy", ["zero3", "fsdp2"])
def test_sharded_parameters_are_gathered_equally_often(tmp_path, strategy):
    if strategy == "zero3" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install 'trl_mle[deepspeed]'")
    results = records(tmp_path, strategy, "together", "independent")
    for scenario in results.values():
        assert_each_rollout_has_its_own_turns(scenario)
        assert all(result["in_step"] for result in scenario)
        assert [result["generations"] for result in scenario] == [4, 4], "the first one has two turns of its own"


def test_ddp_and_a_vllm_server(tmp_path):
    results = records(tmp_path, "ddp", "together", "independent", "server", "error")
    for name in ("together", "independent"):
        assert_each_rollout_has_its_own_turns(results[name])
        assert not any(result["in_step"] for result in results[name])
    assert [result["generations"] for result in results["together"]] == [2, 4]
    for result, calling in zip(results["server"], (1, 3), strict=True):
        assert result["calls"] == 2 * calling
        last = [messages[-1]["content"] for messages in result["completions"]]
        assert last == [f"row {row}" for row in range(calling)] + ["done"] * (4 - calling)
        masks, ids, logprobs = result["lengths"]
        assert masks == ids == logprobs
    first, second = (result["error"] for result in results["error"])
    assert second == "RuntimeError: generation failed"
    assert first == "ProcessError: Process 1 stopped. RuntimeError: generation failed"
