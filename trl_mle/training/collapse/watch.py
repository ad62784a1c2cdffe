"""`CollapseWatch`: the part of a trainer that notices a collapse, and stops training or takes it back."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType, broadcast_object_list
from transformers import TrainerCallback
from trl import GRPOTrainer

from trl_mle.errors import ConfigError
from trl_mle.training.collapse import rollback
from trl_mle.training.collapse.detector import CollapseDetector
from trl_mle.training.collapse.rollback import Health
from trl_mle.training.collapse.update_size import UpdateSize
from trl_mle.training.parts import TrainerPart

logger = logging.getLogger(__name__)

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
        self.detector = CollapseDetector(
            args.collapse_entropy, args.collapse_distinct, args.collapse_reward_drop, args.collapse_update_kl
        )
        self.update_size = None if args.collapse_update_kl is None else UpdateSize(trainer.accelerator)
        self.history: list[Health] = []
        self.rollbacks = 0
        self.lr_scale = 1.0
        """Product of the factors of the learning rate so far."""
        self.stopped_for: str | None = None
        """Why the watch has ended training."""
        self._target: int | None = None
        self._goes_back = False
        self._batch: tuple[int, float | None] | None = None
        self._entropy, self._reward = _NewValues("entropy"), _NewValues("reward")
        kind = trainer.accelerator.distributed_type
        if args.collapse_action == "rollback" and kind in (DistributedType.DEEPSPEED, DistributedType.FSDP):
            raise ConfigError(
                f"`collapse_action` is 'rollback', which does not work with {kind.value}. Choose 'stop', and start a new run from "
                "the checkpoint that its message names, with a lower `learning_rate`."
            )

    def callback(self) -> TrainerCallback:
        """What the trainer has to call after each optimizer step."""
        return _AfterStep(self)

    # What is seen

    def observe(self, columns: Mapping[str, list], mode: str) -> None:
        """See [`TrainerPart.observe`]."""
        if mode == "train" and columns["step"]:
            self._batch = (columns["step"][0], distinct_share(columns))

    def after_step(self, control: Any) -> None:
        """Judge the batch of this optimizer step, if it is a new one. To be called by all processes."""
        kl = None
        if self.update_size is not None:
            # TRL's own forward pass: with overlap, this class gives what was recorded when a batch was generated.
            kl = self.update_size.measure(partial(GRPOTrainer._get_per_token_logps_and_entropies, self._trainer))
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
        """Main process: give the newest batch to the detector, and log. Returns what it says about a collapse."""
        metrics = self._trainer._metrics["train"]
        if kl is not None:
            metrics["collapse/update_kl"].append(kl)
        alarms = self.detector.observe_update(kl)
        entropy, reward = self._entropy.mean(metrics), self._reward.mean(metrics)
        if self._batch is not None:
            (step, distinct), self._batch = self._batch, None
            alarms = [*alarms, *self.detector.observe(entropy, distinct, reward)]
            for name, value in self.detector.metrics().items():
                metrics[name].append(value)
            reward = math.nan if reward is None else reward
            health = Health(step, reward, self.detector.margin(), bool(self.detector.on))
            self.history = [*self.history, health][-HISTORY:]
        if not alarms:
            return None
        problem = " and ".join(alarm.message for alarm in alarms)
        logger.warning(
            "The policy may be collapsing after %d updates: %s. %s", self._trainer.state.global_step, problem, ADVICE
        )
        return problem

    # What is done

    def _decide(self, problem: str | None) -> tuple[str, int | None] | None:
        """Why training ends and the step of the checkpoint to go back to, or `None` if it goes on."""
        if problem is None:
            return None
        args = self._trainer.args
        steps = [rollback.step_of(path) for path in rollback.checkpoints(Path(args.output_dir))]
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
            "No checkpoint was seen to be healthy: start a new run with a lower `learning_rate`, and smaller `save_steps`."
            if target is None
            else f"The best that was seen to be healthy is checkpoint-{target}: give it as `model_name_or_path` of a new run "
            "with a lower `learning_rate`."
        )
        logger.warning("Training stops%s. %s", reason, advice)
        return problem, None

    def take_rollback(self) -> str | None:
        """After training has ended: the checkpoint to train on from, or `None`. To be called by all processes."""
        if self._target is None:
            return None
        step, self._target = self._target, None
        self.stopped_for = None
        trainer, output_dir = self._trainer, Path(self._trainer.args.output_dir)
        if trainer.args.should_save:
            for folder in rollback.move_aside(output_dir, step):
                logger.warning("A later checkpoint is now in %s.", folder)
        trainer.accelerator.wait_for_everyone()
        self.rollbacks += 1
        self._goes_back = True
        rollback.forget_generated(trainer)
        self._batch = None
        return str(output_dir / f"checkpoint-{step}")

    def resumed(self) -> None:
        """Lower the learning rate, if training goes back: optimizer and schedule are those of the checkpoint now."""
        if not self._goes_back:
            return
        self._goes_back = False
        # The checkpoint may have been written before an earlier rollback, or after it.
        written_with, wanted = self._loaded_scale, self.lr_scale * self._trainer.args.rollback_lr_factor
        rollback.scale_learning_rate(self._trainer.optimizer, self._trainer.lr_scheduler, wanted / written_with)
        self.lr_scale = wanted

    # What checkpoints keep

    _loaded_scale = 1.0

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
        self.history = [Health(**health) for health in state["history"]]
        self._loaded_scale = state["lr_scale"]
        if not self._goes_back:
            self.rollbacks, self.lr_scale = state["rollbacks"], state["lr_scale"]


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


class _AfterStep(TrainerCallback):
    def __init__(self, watch: CollapseWatch):
        self._watch = watch

    def on_step_end(self, args, state, control, **kwargs):
        self._watch.after_step(control)
        return control
