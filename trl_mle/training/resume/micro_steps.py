"""`MicroSteps`: the place of a run within its generation batch, and the completions that it still trains on there."""

from __future__ import annotations

import logging
from typing import Any

import torch
from accelerate.utils import gather_object, send_to_device
from transformers import TrainerCallback

from trl_mle.training.parts import TrainerPart

logger = logging.getLogger(__name__)

LAYOUT = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_generations",
    "steps_per_generation",
    "num_iterations",
)
"""Settings that say which micro step trains on which completions."""


class MicroSteps(TrainerPart):
    """Keeps what TRL leaves out of a checkpoint that falls between two generation batches.

    TRL generates at a multiple of `steps_per_generation * num_iterations` micro steps and trains on the completions until the
    next one. It saves neither the number of micro steps nor the completions, so that a run that is resumed in between
    generates anew, and all later batches are generated at other steps.

    Metrics that were not logged yet are kept, too, and the state of the adaptive entropy coefficient, which TRL writes only
    after `trainer_state.json`.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer that it is a part of.
    """

    def __init__(self, trainer: Any):
        self._trainer = trainer
        self._state: dict[str, Any] | None = None  # of a checkpoint, until `resume`
        self._earlier: dict[str, list[float]] = {}  # metrics of the checkpoint that were not logged yet
        self._loss: tuple[torch.Tensor, int] | None = None  # not logged yet, and the step of the last log
        trainer.add_callback(_RestoreLoss(self))

    def state_dict(self) -> dict[str, Any]:
        trainer = self._trainer
        state: dict[str, Any] = {"step": trainer._step, "layout": self._layout()}
        # The next micro step generates otherwise, and looks at no earlier completions.
        if trainer._step % self._generate_every:
            state["buffered_inputs"] = trainer._buffered_inputs
        if trainer.use_adaptive_entropy:
            state["entropy"] = {"entropy_coef": trainer.entropy_coef, "last": trainer._last_world_entropy}
        state["metrics"] = self._metrics()
        # Before transformers 5.10 or so the loss is a local variable.
        if hasattr(trainer, "_tr_loss"):
            state["loss"] = (trainer._tr_loss.detach().cpu().clone(), trainer._globalstep_last_logged)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state = state

    def resume(self) -> None:
        """Continue from the state that was loaded; to be called by all processes. Without one, a new batch is generated."""
        trainer, state, self._state = self._trainer, self._state, None
        layout = self._layout()
        problem = "its files do not hold the place within the generation batch" if state is None else ""
        if state is not None:
            changed = [name for name, value in state["layout"].items() if layout.get(name) != value]
            problem = ", ".join(f"`{name}` is {layout.get(name)} and was {state['layout'][name]}" for name in changed)
        trainer._step, trainer._buffered_inputs = 0, None
        self._loss, self._earlier = None, {}
        # A process that goes on with completions while another one generates would wait for it forever.
        problems = [found for found in gather_object([problem]) if found]
        if problems or state is None:
            self._warn(problems[0])
            return
        trainer._step = state["step"]
        trainer._buffered_inputs = send_to_device(state.get("buffered_inputs"), trainer.accelerator.device)
        if trainer.use_adaptive_entropy and "entropy" in state:
            trainer.entropy_coef = state["entropy"]["entropy_coef"]
            trainer._last_world_entropy = state["entropy"]["last"]
        trainer._metrics["train"].clear()
        self._earlier = state["metrics"]
        self._loss = state.get("loss")

    def before_log(self) -> None:
        """Add the metrics of before the checkpoint to those that TRL logs now.

        Not earlier: whoever looks at the trainer's metrics in between has seen them before the checkpoint.
        """
        for name, values in self._metrics().items():
            self._trainer._metrics["train"][name][:] = values
        self._earlier = {}

    def _metrics(self) -> dict[str, list[float]]:
        """Metrics of training since the last log, those of before the checkpoint first."""
        now = self._trainer._metrics["train"]
        values = {name: [*self._earlier.get(name, ()), *now.get(name, ())] for name in {**self._earlier, **now}}
        # A running total, of which TRL keeps the newest value alone.
        values |= {name: list(now[name]) for name in ("num_tokens",) if name in now}
        return {name: [float(value) for value in numbers] for name, numbers in values.items()}

    def restore_loss(self) -> None:
        """Go on with the sum of losses that the next log divides by its steps; to be called once training has begun."""
        trainer = self._trainer
        if self._loss is None or not hasattr(trainer, "_tr_loss"):
            return
        loss, trainer._globalstep_last_logged = self._loss
        trainer._tr_loss += loss.to(trainer._tr_loss.device)
        # The mean loss that `train()` returns is over its own steps alone.
        trainer._total_loss_scalar -= loss.item()
        self._loss = None

    @property
    def _generate_every(self) -> int:
        return (self._trainer.args.steps_per_generation or 1) * self._trainer.num_iterations

    def _layout(self) -> dict[str, int]:
        """What the kept completions are good for: where each is trained on, and which log-probabilities they have."""
        trainer, args = self._trainer, self._trainer.args
        corrects = args.use_vllm and args.vllm_importance_sampling_correction
        return {
            "processes": trainer.accelerator.num_processes,
            # One whose file is missing has read that of the first process, with completions that are not its own.
            "process": trainer.accelerator.process_index,
            **{name: getattr(args, name) for name in LAYOUT},
            "beta above 0": args.beta != 0.0,
            "correction of vLLM": corrects,
        }

    def _warn(self, problem: str) -> None:
        if self._trainer.accelerator.is_main_process:
            logger.warning(
                "The resumed run begins with a new generation batch, and does not repeat the uninterrupted one, because its "
                "checkpoint does not fit: %s.",
                problem,
            )


class _RestoreLoss(TrainerCallback):
    """Calls `restore_loss` after transformers' trainer has set its loss to 0."""

    def __init__(self, part: MicroSteps):
        self._part = part

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._part.restore_loss()
