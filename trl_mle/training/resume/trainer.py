"""`ResumableTrainer`: `trl.GRPOTrainer` whose checkpoints hold all that a run needs to continue exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import GRPOTrainer

from trl_mle.training.distributed import raised_on_all
from trl_mle.training.parts import TrainerParts
from trl_mle.training.resume import manifest
from trl_mle.training.resume.data_order import start_at_epoch
from trl_mle.training.resume.last_step import EndsAtLastStep
from trl_mle.training.resume.micro_steps import MicroSteps
from trl_mle.training.resume.unrepeatable import warn_of_unrepeatable
from trl_mle.training.resume.writing import disk_errors


class ResumableTrainer(EndsAtLastStep, GRPOTrainer):
    """`trl.GRPOTrainer` that also saves and loads the state of its parts, at whatever step.

    A subclass adds parts to `parts`, and may extend `_save_state` and `_load_state`.
    """

    parts: TrainerParts
    _train_sampler: Any = None
    # A trainer that is made without `__init__`, as tests and mocks do, is TRL's.
    _micro_steps: MicroSteps = None  # type: ignore[assignment]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.parts = TrainerParts(self.accelerator.process_index)
        """What else has a say in generation and training."""
        self._micro_steps = MicroSteps(self)

    def _save_state(self, folder: Path) -> None:
        """Write what TRL does not know of into the folder of a checkpoint; called by all processes."""
        with raised_on_all(), disk_errors(folder):
            self.parts.save(folder)

    def _load_state(self, folder: Path) -> None:
        """Read back what `_save_state` wrote; called by all processes. Policy and trainer state are those of the checkpoint."""
        self.parts.resume(folder)

    def _get_train_sampler(self, dataset=None):
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _save_checkpoint(self, model, trial):
        folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        # Before TRL's own files. The last of these, `trainer_state.json`, makes the checkpoint whole, and TRL deletes older
        # checkpoints then.
        with raised_on_all(), disk_errors(folder):
            if self.args.should_save:
                manifest.begin(folder, self.args)
        self._save_state(folder)
        with disk_errors(folder):
            super()._save_checkpoint(model, trial)

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        # `trainer_state.json` comes next: all processes have written their files by then.
        self.accelerator.wait_for_everyone()

    def log(self, logs, start_time=None):
        if self._micro_steps is not None and self.model is not None and self.model.training:
            self._micro_steps.before_log()
        super().log(logs, start_time)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        # The last of TRL's steps on the way to resume.
        if checkpoint is None:
            return
        start_at_epoch(self._train_sampler, int(self.state.epoch or 0))
        self._load_state(Path(checkpoint))
        warn_of_unrepeatable(self)
