"""Progress that a person can follow: one short line a log instead of all metrics."""

from __future__ import annotations

from transformers.trainer_callback import ProgressCallback

SHOWN = {
    "reward": "reward {:.2f}",
    "programs/valid_share": "valid {:.0%}",
    "programs/milestones": "milestones {:.1f}",
    "programs/public_score": "score {:.4g}",
    "duration/mean": "mean {:.2f} s",
    "duration/max": "max {:.1f} s",
    "duration/timeout_share": "time-outs {:.0%}",
    "programs/fault_share": "faults {:.0%}",
}


class MLEProgress(ProgressCallback):
    """`transformers.ProgressCallback`; the only change is that a log is shown as one line of the most telling metrics.

    All metrics are in `metrics.jsonl` and wherever `report_to` sends them.
    """

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or self.training_bar is None or not logs:
            return
        parts = [form.format(logs[name]) for name, form in SHOWN.items() if logs.get(name) is not None]
        if parts:
            self.training_bar.write(f"step {state.global_step}/{state.max_steps}  " + "  ".join(parts))
