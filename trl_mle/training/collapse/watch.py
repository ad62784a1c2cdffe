"""`CollapseWatch`: the part of a trainer that notices a collapse, and stops training or takes it back."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType, broadcast_object_list
from transformers import TrainerCallback

from trl_mle.errors import ConfigError
from trl_mle.training.collapse import record, rollback
from trl_mle.training.collapse.detector import UPDATE_BATCHES, Alarm, CollapseDetector
from trl_mle.training.collapse.record import RollbackRecord
from trl_mle.training.collapse.rollback import Health
from trl_mle.training.collapse.update_size import UpdateSize
from trl_mle.training.distributed import raised_on_all
from trl_mle.training.parts import TrainerPart

logger = logging.getLogger(__name__)

VALID_SHARE = "programs/valid_share"
"""Metric of a reward function whose fall shows a broken policy, as `MLEReward` logs it."""
HISTORY = 4096
"""Generation batches whose health is remembered."""


class CollapseWatch(TrainerPart):
    """Watches a [`DurationAwareTrainer`] for collapse. See [`CollapseSettings`] for what it does then.

    The main process sees the whole batch and decides. The others are told after each optimizer step, unless the watch only
    warns: then it adds no communication, and draws no random number.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer that the watch is a part of.

    Raises:
        ConfigError: `collapse_action` is `"rollback"`, and the trainer shards its optimizer (DeepSpeed, FSDP).
    """

    def __init__(self, trainer: Any):
        self._trainer = trainer
        args = trainer.args
        self.update_size = None if args.collapse_update_kl is None else UpdateSize(trainer.accelerator)
        self._forget()
        self.stopped_for: str | None = None
        """Why the watch has ended training."""
        self._target: int | None = None
        self._goes_back = False
        self._continues = False
        self._others: dict[str, int | None] = {}
        self._batch: tuple[int, float | None] | None = None
        self._entropy, self._reward, self._valid = map(_NewValues, ("entropy", "reward", VALID_SHARE))
        kind = trainer.accelerator.distributed_type
        if args.collapse_action == "rollback" and kind in (DistributedType.DEEPSPEED, DistributedType.FSDP):
            raise ConfigError(
                f"`collapse_action` is 'rollback', which does not work with {kind.value}. Choose 'stop', and start a new run from "
                "the checkpoint that its message names, with a lower `learning_rate`."
            )

    def _forget(self) -> None:
        """Begin as a run of which nothing is known."""
        args = self._trainer.args
        # The batches of an update's policy come later where completions may be late.
        lag = math.ceil(args.max_staleness / args.steps_per_batch) if args.overlap_execution else 0
        self.detector = CollapseDetector(
            args.collapse_entropy,
            args.collapse_distinct,
            args.collapse_reward_drop,
            args.collapse_update_kl,
            args.collapse_valid_drop,
            UPDATE_BATCHES + lag,
        )
        self.history: list[Health] = []
        self.rollbacks = 0
        self.lr_scale = self._loaded_scale = 1.0
        """Product of the factors of the learning rate so far, and of those that the checkpoint knows of."""

    def callback(self) -> TrainerCallback:
        """What the trainer has to call before training and after each optimizer step."""
        return _Calls(self)

    def save_start(self) -> None:
        """Keep the policy that the run begins with as `checkpoint-0`, if training may go back. To be called by all processes."""
        trainer = self._trainer
        # Of an earlier run in this folder, or of steps that this one has not made: until they are written anew.
        first = trainer.state.global_step if self._continues else -1
        self._others = {
            path.name: rollback.written_at(path)
            for path in rollback.checkpoints(Path(trainer.args.output_dir))
            if rollback.step_of(path) > first
        }
        if trainer.args.collapse_action == "rollback" and trainer.state.global_step == 0 and self.rollbacks == 0:
            trainer._save_checkpoint(trainer.model_wrapped, trial=None)

    # What is seen

    def observe(self, columns: Mapping[str, list], mode: str) -> None:
        """See [`TrainerPart.observe`]."""
        if mode == "train" and columns["step"]:
            self._batch = (columns["step"][0], distinct_share(columns))

    def after_step(self, control: Any) -> None:
        """Judge the batch of this optimizer step, if it is a new one. To be called by all processes."""
        kl = None
        if self.update_size is not None:
            kl = self.update_size.measure(self._trainer.present_logps)
        problem = self._judge(kl) if self._trainer.accelerator.is_main_process else None
        action = self._trainer.args.collapse_action
        if action not in ("stop", "rollback"):
            return
        decision = [self._decide(problem)]
        if self._trainer.accelerator.num_processes > 1:
            broadcast_object_list(decision)
        if decision[0] is None:
            return
        self.stopped_for, self._target = decision[0]
        control.should_training_stop = True
        # A policy that is broken is not worth a checkpoint, which could push out a better one.
        control.should_save = control.should_evaluate = False

    def _judge(self, kl: float | None) -> str | None:
        """Main process: give the newest batch to the detector, and log. Returns what is broken, to act on."""
        metrics = self._trainer._metrics["train"]
        if kl is not None:
            metrics["collapse/update_kl"].append(kl)
        entropy, reward, valid = (values.mean(metrics) for values in (self._entropy, self._reward, self._valid))
        alarms: list[Alarm] = []
        if self._batch is not None:
            (step, distinct), self._batch = self._batch, None
            alarms = self.detector.observe(entropy, distinct, reward, valid)
            for name, value in self.detector.metrics().items():
                metrics[name].append(value)
            reward = math.nan if reward is None else reward
            self.history = [*self.history, Health(step, reward, self.detector.is_broken)][-HISTORY:]
        # The batch was written before this update.
        alarms = [*alarms, *self.detector.observe_update(kl)]
        if alarms:
            problem = " and ".join(alarm.message for alarm in alarms)
            step = self._trainer.state.global_step
            logger.warning("The policy may be collapsing after %d updates: %s. %s", step, problem, ADVICE)
        return " and ".join(alarm.message for alarm in alarms if alarm.acts) or None

    # What is done

    def _decide(self, problem: str | None) -> tuple[str, int | None] | None:
        """Why training ends and the step of the checkpoint to go back to, or `None` if it goes on."""
        if problem is None:
            return None
        args = self._trainer.args
        own = [path for path in rollback.checkpoints(Path(args.output_dir)) if self._is_own(path)]
        steps = [rollback.step_of(path) for path in own]
        lag = args.max_staleness if args.overlap_execution else 0
        target = rollback.choose(steps, self.history, lag)
        if args.collapse_action == "rollback" and target is not None and self.rollbacks < args.rollback_limit:
            logger.warning(
                "Training goes back to checkpoint-%d with %g times the learning rate.",
                target,
                self.lr_scale * args.rollback_lr_factor,
            )
            return problem, target
        reason = ""
        if args.collapse_action == "rollback":
            reason = (
                f" after {self.rollbacks} rollbacks"
                if target is not None
                else ", because there is nothing to go back to"
            )
        advice = (
            "No checkpoint is known to be healthy: start a new run with a lower `learning_rate`, and smaller `save_steps`."
            if target is None
            else f"The best that was seen to be healthy is checkpoint-{target}: give it as `model_name_or_path` of a new run "
            "with a lower `learning_rate`."
        )
        logger.warning("Training stops%s. %s", reason, advice)
        return problem, None

    def _is_own(self, checkpoint: Path) -> bool:
        """Whether a checkpoint is whole, and one of this run."""
        written = rollback.written_at(checkpoint)
        return written is not None and self._others.get(checkpoint.name) != written

    def take_rollback(self) -> str | None:
        """After training has ended: the checkpoint to train on from, or `None`. To be called by all processes."""
        if self._target is None:
            return None
        step, self._target = self._target, None
        self.stopped_for = None
        trainer, output_dir = self._trainer, Path(self._trainer.args.output_dir)
        self.rollbacks += 1
        self.lr_scale *= trainer.args.rollback_lr_factor
        with raised_on_all():
            if trainer.args.should_save:
                later = [folder for folder in rollback.checkpoints(output_dir) if rollback.step_of(folder) > step]
                names = [folder.name for folder in later]
                # Before anything else: from here on, a run that is killed resumes as one that has gone back.
                record.write(output_dir, RollbackRecord(step, self.rollbacks, self.lr_scale, names))
                _rename(output_dir)
        self._goes_back = self._continues = True
        rollback.forget_generated(trainer)
        self._batch = None
        return str(output_dir / f"checkpoint-{step}")

    def begin(self, resumes: bool) -> None:
        """Before training: finish a rollback that a killed process has begun, or forget those of an earlier run here."""
        self.stopped_for, self._continues = None, resumes
        if not resumes:
            self._forget()
        output_dir = Path(self._trainer.args.output_dir)
        with raised_on_all():
            if self._trainer.args.should_save:
                _rename(output_dir) if resumes else record.discard(output_dir)

    def resumed(self, checkpoint: Path) -> None:
        """Lower the learning rate, if training goes back: optimizer and schedule are those of the checkpoint now.

        So does a run that was killed between a rollback and its next checkpoint.
        """
        if not self._goes_back:
            known = [record.read(checkpoint.parent) if self._trainer.accelerator.is_main_process else None]
            if self._trainer.accelerator.num_processes > 1:
                broadcast_object_list(known)
            newest = known[0]
            # A checkpoint that knows of the rollback was written after it.
            if (
                newest is None
                or newest.rollbacks <= self.rollbacks
                or not 0 <= rollback.step_of(checkpoint) <= newest.step
            ):
                return
            self.rollbacks, self.lr_scale = newest.rollbacks, newest.lr_scale
        self._goes_back = False
        # The checkpoint may have been written before an earlier rollback, or after it.
        factor = self.lr_scale / self._loaded_scale
        rollback.scale_learning_rate(self._trainer.optimizer, self._trainer.lr_scheduler, factor)

    # What checkpoints keep

    def state_dict(self) -> dict[str, Any]:
        """See [`TrainerPart.state_dict`]."""
        return {
            "detector": self.detector.state_dict(),
            "history": [asdict(health) for health in self.history],
            "rollbacks": self.rollbacks,
            "lr_scale": self.lr_scale,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See [`TrainerPart.load_state_dict`]. What a run has already taken back is not forgotten by going back."""
        self.detector.load_state_dict(state["detector"])
        known = {item.name for item in fields(Health)}  # an earlier version kept more
        self.history = [
            Health(**{name: value for name, value in health.items() if name in known}) for health in state["history"]
        ]
        self._loaded_scale = state["lr_scale"]
        if not self._goes_back:
            self.rollbacks, self.lr_scale = state["rollbacks"], state["lr_scale"]


def _rename(output_dir: Path) -> None:
    """Rename the checkpoints that the newest rollback has left behind, if that is still to do."""
    newest = record.read(output_dir)
    if newest is None or not newest.to_rename:
        return
    folders = [output_dir / name for name in newest.to_rename]
    for folder in rollback.move_aside(folder for folder in folders if folder.is_dir()):
        logger.warning("A later checkpoint is now in %s.", folder)
    record.write(output_dir, replace(newest, to_rename=()))


ADVICE = (
    "A lower `learning_rate`, `beta` or `use_adaptive_entropy` prevents it; `collapse_action: rollback` goes back to an earlier "
    "checkpoint (docs/stability.md)."
)


def distinct_share(columns: Mapping[str, list]) -> float | None:
    """Distinct texts / texts of a batch: of the column `program` where it has one, otherwise of the completion."""
    completions = columns["completion"]
    if not completions:
        return None
    programs = columns.get("program") or [None] * len(completions)
    texts = [
        program if isinstance(program, str) else str(completion)
        for program, completion in zip(programs, completions, strict=True)
    ]
    return len({text.strip() for text in texts}) / len(texts)


class _NewValues:
    """Reads what TRL has added to one of its lists of metrics since the last look. TRL starts a new list after each log.

    After a resume, the list begins with what is new: `MicroSteps` adds the values of before the checkpoint when they are logged.
    """

    def __init__(self, name: str):
        self._name = name
        self._list: list[float] | None = None
        self._read = 0

    def mean(self, metrics: Mapping[str, list[float]]) -> float | None:
        """Mean of the new values, or `None` if there is none."""
        values = metrics.get(self._name)
        if values is None:
            return None
        if values is not self._list:
            self._list, self._read = values, 0
        new = [value for value in values[self._read :] if value is not None and math.isfinite(value)]
        self._read = len(values)
        return sum(new) / len(new) if new else None


class _Calls(TrainerCallback):
    def __init__(self, watch: CollapseWatch):
        self._watch = watch

    def on_train_begin(self, args, state, control, **kwargs):
        self._watch.save_start()

    def on_step_end(self, args, state, control, **kwargs):
        self._watch.after_step(control)
        return control

    def on_epoch_end(self, args, state, control, **kwargs):
        # Training that is stopped ends its epoch, and transformers may ask for a checkpoint of it then.
        if self._watch.stopped_for is not None:
            control.should_save = control.should_evaluate = False
        return control
