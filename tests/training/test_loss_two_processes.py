"""The same exactness with two processes. One launch has many cases, because importing takes longer than training."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

from tests.support.launching import launch_well
from tests.support.loss_cases import LOSS_TYPES, Case
from tests.support.loss_reference import check

DEFAULT = [
    Case("dapo", False, 2),
    Case("dapo", True, 2, (("beta", "0.3"),)),
    Case("grpo", False, 2, (("num_generations", "8"), ("steps_per_generation", "1"))),  # a group over both processes
    Case(
        "grpo",
        False,
        1,
        (
            ("overlap_execution", "True"),
            ("overlap_batches", "0"),
            ("num_generations", "8"),
            ("steps_per_generation", "1"),
        ),
    ),
]
SLOW = [
    *(Case(loss_type, False, 2) for loss_type in LOSS_TYPES if loss_type != "dapo"),
    *(Case(loss_type, True, 1) for loss_type in ("grpo", "dapo", "cispo")),
    Case("grpo", False, 1, (("scale_rewards", "batch"),)),
    Case("dapo", False, 2, (("mask_truncated_completions", "True"),)),
    Case("dapo", False, 1, (("steps_per_generation", "4"),)),
    Case("dapo", False, 2, (("overlap_execution", "True"), ("overlap_batches", "0"))),
    # Three distinct prompts on one process and one on the other, or the other way round.
    Case("dapo", False, 2, (("share_prompts", "True"), ("num_generations", "2"))),
    Case("grpo", True, 2, (("share_prompts", "True"), ("beta", "0.3"))),
]
SHARDED = [
    *(Case(loss_type, lora, 2) for loss_type in ("grpo", "dapo") for lora in (False, True)),
    Case("dapo", False, 1, (("steps_per_generation", "4"),)),
]
ENVIRONMENT = {
    "ddp": {"ACCELERATE_USE_CPU": "true"},
    "fsdp2": {
        "ACCELERATE_USE_CPU": "true",
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_TRANSFORMER_CLS_TO_WRAP": "Qwen2DecoderLayer",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    },
    "zero": {"DS_ACCELERATOR": "cpu", "ACCELERATE_USE_DEEPSPEED": "true"},
}


def records(folder, strategy, cases, timeout_s=240.0):
    environment = ENVIRONMENT["zero" if strategy.startswith("zero") else strategy]
    if strategy.startswith("zero"):
        file = folder / "deepspeed.json"
        # A parameter below the threshold is not sharded: all of this model's are.
        zero = {"stage": int(strategy[-1]), "stage3_param_persistence_threshold": 0}
        settings = {"zero_optimization": zero, "zero_allow_untested_optimizer": True, "gradient_clipping": "auto"}
        sizes = dict.fromkeys(("train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "auto")
        file.write_text(json.dumps({**settings, **sizes}))
        environment = {**environment, "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file)}
    launch_well("tests.support.loss_cases", folder, strategy, *map(str, cases), timeout_s=timeout_s, **environment)
    return {case: [torch.load(folder / f"{case}_{rank}.pt") for rank in range(2)] for case in cases}


# By default, `test_trainer_two_processes.py` shows that two processes train as GRPO, and `test_loss.py` every loss on one.
@pytest.mark.slow
@pytest.mark.parametrize("cases", [DEFAULT, SLOW], ids=["first", "rest"])
def test_ddp(tmp_path, cases):
    results = records(tmp_path, "ddp", cases)
    for case in cases:
        check(case, results[case])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero1", "zero2", "zero3", "fsdp2"])
def test_sharded(tmp_path, strategy):
    if strategy.startswith("zero") and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: pip install 'trl_mle[deepspeed]'")
    results = records(tmp_path, strategy, SHARDED, timeout_s=280)
    for case in SHARDED:
        check(case, results[case])
        assert results[case][0]["sharded"] == (strategy in ("zero3", "fsdp2"))
