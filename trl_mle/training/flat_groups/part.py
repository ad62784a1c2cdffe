"""The part of the trainer that measures, and on request replaces, groups whose rewards are all equal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.models.utils import disable_gradient_checkpointing

from trl_mle.errors import ConfigError
from trl_mle.training.flat_groups.buffer import BATCHES_KEPT, GroupBuffer, Layout
from trl_mle.training.flat_groups.rows import Row, check_known, put_rows, take_rows
from trl_mle.training.flat_groups.variance import are_flat, flat_or_untrained
from trl_mle.training.parts import TrainerPart
from trl_mle.training.scored_batch import ScoredBatch

logger = logging.getLogger(__name__)


class FlatGroups(TrainerPart):
    """Logs the share of groups whose rewards are all equal, and replaces them if `replace_flat_groups` is set.

    All advantages of such a group are zero: its programs ran for nothing. A recent group with differing rewards takes its place,
    with its own advantages, weights and log-probabilities of the policy that wrote it, so that the importance ratio of the loss
    is right. No further program runs. DAPO (arXiv 2503.14476) generates further groups instead, which costs minutes of programs
    here. What the other groups of the batch add to the gradient stays the same, except for losses that divide by the number of
    tokens, which is that of the new batch.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer that it is a part of.
        scored (callable):
            Gives the [`ScoredBatch`] of the batch that is being prepared.
    """

    def __init__(self, trainer: Any, scored: Callable[[], ScoredBatch]):
        self._trainer = trainer
        self._scored = scored
        args = trainer.args
        self._replaces: bool = args.replace_flat_groups
        self.buffer = GroupBuffer(args.flat_group_max_age, args.flat_group_max_uses)
        self._agreed = False
        if self._replaces and args.beta != 0.0 and args.sync_ref_model:
            raise ConfigError(
                "`replace_flat_groups` keeps log-probabilities of the reference model, which `sync_ref_model` changes. Set one of "
                "them to false."
            )

    def after_scoring(self, output: dict[str, Any], mode: str) -> dict[str, Any]:
        trainer = self._trainer
        flat = self._flat(output, mode)
        metrics = trainer._metrics[mode]
        metrics["groups/flat_share"].append(flat.float().mean().item())
        if mode != "train" or not self._replaces:
            return output
        check_known(output)
        self._agree(output)
        return self._replace(output, flat)

    def _replace(self, output: dict[str, Any], flat: torch.Tensor) -> dict[str, Any]:
        """The batch with kept groups in the places of flat ones, as far as there are any; the others are kept."""
        trainer, kept = self._trainer, output
        if "old_per_token_logps" not in output:
            # TRL leaves them out where the loss has the policy that generated; the buffer outlives it.
            kept = {**output, "old_per_token_logps": self._present_logps(output)}
        step, layouts = trainer.state.global_step, self._layouts(len(output["advantages"]))
        places = flat.nonzero().flatten().tolist()
        chosen = zip(places, self.buffer.choose([layouts[place] for place in places], step), strict=True)
        replaced = {place: group for place, group in chosen if group is not None}
        metrics = trainer._metrics["train"]
        metrics["groups/replaced_share"].append(len(replaced) / len(layouts))
        if replaced:
            metrics["groups/replaced_age"].append(fmean(step - group.trained_at for group in replaced.values()))
            rows: dict[int, Row] = {}
            for place, group in replaced.items():
                rows.update(zip(self._own(place), self.buffer.rows(group), strict=True))
            output = self._with_rows(kept, rows)
        fresh = (~flat).nonzero().flatten().tolist()
        taken = [(layouts[place], take_rows(kept, self._own(place))) for place in fresh]
        self.buffer.keep(taken, step, BATCHES_KEPT * len(layouts))
        return output

    def _flat(self, output: dict[str, Any], mode: str) -> torch.Tensor:
        """Which groups of the global batch are flat, on every process."""
        trainer = self._trainer
        size = trainer.num_generations if mode == "train" else trainer.num_generations_eval or 1
        counted = None
        if trainer.args.mask_truncated_completions:
            counted = trainer.accelerator.gather(output["completion_mask"].any(dim=1))
        scored = self._scored()
        if scored.credit is not None and scored.credit.flat is not None:
            # Episodes with equal rewards may have earned them in different turns.
            return flat_or_untrained(scored.credit.flat, counted, size)
        return are_flat(
            scored.per_function, trainer.reward_weights, size, trainer.multi_objective_aggregation, counted
        )

    def _present_logps(self, output: dict[str, Any]) -> torch.Tensor:
        """Log-probabilities of this process's completions under the present policy, shape `(b, T)`."""
        trainer = self._trainer
        sides = [("prompt_ids", "completion_ids"), ("prompt_mask", "completion_mask")]
        ids, mask = (torch.cat([output[name] for name in names], dim=1) for names in sides)
        with (
            torch.no_grad(),
            disable_gradient_checkpointing(trainer.model, trainer.args.gradient_checkpointing_kwargs),
        ):
            logps, _, _ = trainer._get_per_token_logps_and_entropies(
                trainer.model,
                ids,
                mask,
                output["completion_ids"].size(1),
                batch_size=trainer.args.per_device_train_batch_size,
            )
        return logps

    def _with_rows(self, output: dict[str, Any], rows: dict[int, Row]) -> dict[str, Any]:
        """The batch with `rows` in their places, and the number of its tokens; to be called by all processes."""
        trainer = self._trainer
        output = put_rows(output, rows, trainer._tokenizer.pad_token_id, trainer.pad_to_multiple_of)
        tokens = (output["completion_mask"] * output.get("tool_mask", 1)).sum()
        return {**output, "num_items_in_batch": trainer.accelerator.gather(tokens).sum()}

    # Places

    def _layouts(self, local_rows: int) -> list[Layout]:
        """Process of each row, group by group, of the global batch."""
        size, rows = self._trainer.num_generations, local_rows * self._trainer.accelerator.num_processes
        return [tuple(row // local_rows for row in range(first, first + size)) for first in range(0, rows, size)]

    def _own(self, place: int) -> list[int]:
        """Rows of this process's batch that belong to the group at `place` of the global batch."""
        size, accelerator = self._trainer.num_generations, self._trainer.accelerator
        local_rows = len(self._scored().scorable) // accelerator.num_processes
        first = accelerator.process_index * local_rows
        return [row - first for row in range(place * size, (place + 1) * size) if 0 <= row - first < local_rows]

    # Checkpoints

    def _agree(self, output: dict[str, Any]) -> None:
        """Empty the buffer unless all processes have resumed with the same groups, for batches with these tensors."""
        if self._agreed:
            return
        self._agreed = True
        names = {name for group in self.buffer.groups for row in self.buffer.rows(group) for name in row}
        fits = not names or names - {"tool_mask"} == {*output, "old_per_token_logps"} - {
            "num_items_in_batch",
            "tool_mask",
        }
        states = gather_object([(self.buffer.summary(), fits)])
        if all(fits for _, fits in states) and all(summary == states[0][0] for summary, _ in states):
            return
        self.buffer.clear()
        logger.warning("The groups that were kept at the checkpoint do not fit this run, and are forgotten.")

    def state_dict(self) -> dict[str, Any]:
        if not self._replaces:
            return {}
        return {"buffer": self.buffer.state_dict(), "processes": self._trainer.accelerator.num_processes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._agreed = False
        if self._replaces and state["processes"] == self._trainer.accelerator.num_processes:
            self.buffer.load_state_dict(state["buffer"])
