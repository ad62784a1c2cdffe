"""Progress that a person can follow: one short line per log instead of all metrics."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tqdm.auto import tqdm
from transformers.trainer_callback import ProgressCallback

GRPO_METRICS = {
    "programs/reward": "reward {:.2f}",
    "programs/valid_share": "valid {:.0%}",
    "programs/valid_reward": "of valid {:.2f}",
    "programs/milestones": "milestones {:.1f}",
    "programs/public_score": "score {:.4g}",
    "duration/mean": "mean {:.2f} s",
    "duration/max": "max {:.1f} s",
    "duration/timeout_share": "time-outs {:.0%}",
    "programs/fault_share": "faults {:.0%}",
}
SFT_METRICS = {"loss": "loss {:.3f}", "mean_token_accuracy": "token accuracy {:.0%}"}


class MLEProgress(ProgressCallback):
    """`transformers.ProgressCallback`; the only changes are that a log is shown as one line of the most telling metrics, and that
    there is a bar on a terminal only, below these lines.

    All metrics are in `metrics.jsonl` and wherever `report_to` sends them.

    Args:
        shown (mapping from metric to format):
            Metrics of a line, in order. A log without the first metric is not shown.
    """

    def __init__(self, shown: Mapping[str, str]):
        super().__init__()
        self.shown = shown

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            # `disable=None`: a log file holds one line per step and no bar. `leave=False`: results follow without a stale bar.
            self.training_bar = tqdm(total=state.max_steps, dynamic_ncols=True, disable=None, leave=False)
        self.current_step = 0

    def on_log(self, args, state, control, logs=None, **kwargs):
        first_metric = next(iter(self.shown))
        # Other processes have no bar, and logs of the end of training or of evaluation lack the first metric.
        if not state.is_world_process_zero or self.training_bar is None or not logs or first_metric not in logs:
            return
        parts = [pattern.format(logs[name]) for name, pattern in self.shown.items() if logs.get(name) is not None]
        self.training_bar.write(f"step {state.global_step}/{state.max_steps}  " + "  ".join(parts))
        sys.stdout.flush()  # a pipe would show the steps of minutes at once
