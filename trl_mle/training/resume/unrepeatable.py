"""What a resumed run does not repeat, by its settings."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger(__name__)


def unrepeatable(args: Any) -> list[str]:
    """Why a run with `args` ([`DurationAwareConfig`]), once resumed, differs from the uninterrupted one; empty if it does not.

    Each reason names the setting. What reward functions draw by chance is not known here.
    """
    reasons = {
        "`overlap_execution` trains on programs in the order in which they finish (`overlap_order: launched` repeats itself)": (
            args.overlap_execution and args.overlap_order != "launched"
        ),
        "`use_vllm`: the inference engine keeps its random state to itself": args.use_vllm,
        "`save_only_model`: the checkpoint has neither optimizer nor random state": args.save_only_model,
        "`ignore_data_skip`: the data begin anew": args.ignore_data_skip,
        "`sync_ref_model`: the checkpoint does not hold the reference model": args.sync_ref_model,
    }
    return [reason for reason, applies in reasons.items() if applies]


def warn_of_unrepeatable(args: Any) -> None:
    """Say on the main process in which respects a run that is resumed with `args` does not repeat the uninterrupted one."""
    reasons = unrepeatable(args)
    if reasons and args.process_index == 0:
        logger.warning("The resumed run does not repeat the uninterrupted one to the bit. %s.", ". ".join(reasons))
