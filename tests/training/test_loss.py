"""Weighted advantages and gradients are exact for every loss, against formulas written down a second time."""

from __future__ import annotations

import pytest
import torch

from tests.support.loss_cases import LOSS_TYPES, Case, run
from tests.support.loss_reference import check

CASES = [
    *(Case(loss_type, lora, iterations) for loss_type in LOSS_TYPES for lora, iterations in ((False, 1), (True, 2))),
    Case("grpo", False, 2),
    Case("dapo", False, 2),
    # The KL term has no weight; with it, a step on one generation batch moves away from the reference.
    *(Case(loss_type, lora, 2, (("beta", "0.3"),)) for loss_type, lora in (("grpo", False), ("dapo", True))),
    *(Case("grpo", False, 2, (("scale_rewards", scale),)) for scale in ("batch", "none")),
    Case("dapo", False, 2, (("mask_truncated_completions", "True"),)),
    Case("grpo", False, 2, (("mask_truncated_completions", "True"), ("scale_rewards", "none"))),
    *(Case(loss_type, False, 1, (("steps_per_generation", "4"),)) for loss_type in ("grpo", "dapo")),
    Case("dapo", False, 2, (("steps_per_generation", "1"), ("gradient_accumulation_steps", "2"))),
    Case("grpo", False, 2, (("importance_sampling_level", "sequence"),)),
    Case("grpo", False, 2, (("epsilon", "0.02"), ("epsilon_high", "0.03"))),
    Case("dapo", False, 2, (("share_prompts", "True"), ("beta", "0.3"))),
    Case("grpo", True, 2, (("share_prompts", "True"), ("beta", "0.3"))),
    Case("dapo", False, 1, (("share_prompts", "True"), ("overlap_execution", "True"), ("overlap_batches", "0"))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_step_is_the_expected_one(tmp_path, case):
    check(case, [run(case, tmp_path)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES[:4], ids=str)
def test_every_step_is_the_expected_one_on_a_gpu(tmp_path, case):
    """The formulas are computed on the CPU, hence the wider tolerance of the parameters."""
    check(case, [run(case, tmp_path, use_cpu=False)], tolerance=1e-4)
