"""What a resumed run does not repeat."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


def unrepeatable(trainer: Any) -> list[str]:
    """Why a run of `trainer`, once resumed, differs from the uninterrupted one; empty if nothing is known.

    Each reason names the setting. What reward functions draw by chance is not known here.

    Args:
        trainer ([`DurationAwareTrainer`]):
            A trainer whose state is that of the checkpoint.
    """
    args = trainer.args
    # A stream has no length, so transformers' trainer takes all its passes for one, whose beginning it skips.
    is_second_pass = trainer._train_sampler is None and int(trainer.state.epoch or 0) > 0
    reasons = {
        "`overlap_execution` trains on programs in the order in which they finish, unless `overlap_order` is 'launched'": (
            args.overlap_execution and args.overlap_order != "launched"
        ),
        "`tool_rollouts` is 'independent': which rollouts are generated together depends on how long tools take": (
            bool(trainer.tools) and args.tool_rollouts == "independent"
        ),
        "`use_vllm`: the inference engine's random state is not saved": args.use_vllm,
        "`save_only_model`: the checkpoint has neither optimizer nor random state": args.save_only_model,
        "`ignore_data_skip`: the data begin anew": args.ignore_data_skip,
        "`sync_ref_model`: the reference model is not saved, and begins as the model that the run began with": (
            args.sync_ref_model
        ),
        "The stream of data had come to its end before, and its next pass begins": is_second_pass,
    }
    return [reason for reason, applies in reasons.items() if applies]


def warn_of_unrepeatable(trainer: Any) -> None:
    """Say on the main process in which respects the resumed run does not repeat the uninterrupted one."""
    reasons = unrepeatable(trainer)
    if reasons and trainer.accelerator.is_main_process:
        logger.warning("The resumed run does not repeat the uninterrupted one to the bit. %s.", ". ".join(reasons))
