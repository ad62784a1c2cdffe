"""Duration-aware training with rollouts that never wait for the learner: over TRL's `AsyncGRPOTrainer`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase

from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.async_grpo.collator import DurationCollator, present_rows, sample_batch
from trl_mle.training.async_grpo.config import AsyncDurationAwareConfig
from trl_mle.training.async_grpo.rollouts import (
    LOST_AFTER,
    SCORING_UPDATES,
    VERSION,
    DurationRolloutLoop,
    PaceRollouts,
    RecordingQueue,
)
from trl_mle.training.async_grpo.trl_imports import AsyncGRPOTrainer, AsyncRolloutWorker, RolloutSample
from trl_mle.training.model_card import PAPER, add_metadata, add_sections, weighting_section
from trl_mle.training.resume.last_step import EndsAtLastStep
from trl_mle.training.rollout_writer import RolloutWriter
from trl_mle.training.weighting.weighting import DurationWeighting, deprecated_inclusion

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from peft import PeftConfig
    from transformers import TrainerCallback

    from trl_mle.training.async_grpo.trl_imports import (
        EnvironmentFactory,
        RolloutWorkerProtocol,
        WeightTransferProtocol,
    )


class AsyncDurationAwareTrainer(EndsAtLastStep, AsyncGRPOTrainer):
    """TRL's `AsyncGRPOTrainer` whose only change to training is that each sample's advantage is multiplied by a weight that
    depends on how long its program ran (arXiv 2509.01684).

    The weight has mean 1 over the samples of one optimizer step: all processes, all micro-batches. Reward functions report
    durations as with [`DurationAwareTrainer`], by `log_extra("action_duration", seconds)`. A rollout worker of the user's own
    puts them into `sample.metrics["action_duration"]`. The importance ratio is TRL's: it uses the log-probabilities of the
    policy that wrote the sample. Samples past `max_staleness` are dropped by TRL, where updates that were made while a sample's
    programs ran do not count: no program is dropped for being slow. TRL's own rollout worker is paced, so that no sample gets that
    old ([`Pacing`]), unless `late_programs` is `"lose"`. Every sample is kept on disk with weight,
    policy version, staleness and log-probability: in `output_dir/rollouts/train_*.parquet`, or in `lost_*.parquet` if it was
    dropped.

    If TRL splits a conversation into several samples, each has the seconds of the whole conversation.

    Args:
        args ([`AsyncDurationAwareConfig`], *optional*):
            Configuration. A plain `AsyncGRPOConfig` is an error.
        model, reward_funcs, train_dataset, processing_class, callbacks, optimizers, peft_config, tools, \
        environment_factory, rollout_worker, weight_transfer:
            As in `AsyncGRPOTrainer`.

    Raises:
        DurationError: samples without durations, or with impossible ones.
    """

    args: AsyncDurationAwareConfig
    processing_class: PreTrainedTokenizerBase
    rollout_queue: Any
    _tag_names = ["trl", "async-grpo", "duration-aware", "trl-mle"]  # noqa: RUF012 (as in TRL)
    _name = "asynchronous duration-aware GRPO"
    _paper = PAPER
    inclusion = property(deprecated_inclusion)

    def __init__(
        self,
        model: str,
        reward_funcs: Callable | list[Callable] | None = None,
        args: AsyncDurationAwareConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        peft_config: PeftConfig | None = None,
        tools: list[Callable] | None = None,
        environment_factory: EnvironmentFactory | dict[str, EnvironmentFactory] | None = None,
        rollout_worker: RolloutWorkerProtocol | None = None,
        weight_transfer: WeightTransferProtocol | None = None,
    ):
        if args is None:
            args = AsyncDurationAwareConfig(f"{Path(model).name}-duration-aware-AsyncGRPO")
        if not isinstance(args, AsyncDurationAwareConfig):
            raise ConfigError(
                f"`args` is a {type(args).__name__}; AsyncDurationAwareTrainer needs an AsyncDurationAwareConfig (same fields, "
                "plus `duration_weighting` and its kin)."
            )
        super().__init__(
            model,
            reward_funcs,
            args,
            train_dataset=train_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
            optimizers=optimizers,
            peft_config=peft_config,
            tools=tools,
            environment_factory=environment_factory,
            rollout_worker=rollout_worker,
            weight_transfer=weight_transfer,
        )
        self.model_card_sections: dict[str, str] = {}
        self.model_card_metadata: dict[str, Any] = {}
        """Title -> Markdown, for the model card beside the trainer's own section on duration weighting. A title of TRL's
        template, such as `Quick start`, replaces that section."""
        self.weighting = DurationWeighting(args)
        for callback in self.weighting.callbacks():
            self.add_callback(callback)
        self._lost: list[dict[str, Any]] = []
        self._lost_seconds: list[float] = []
        self._collator: DurationCollator | None = None
        self._rollout_writer = RolloutWriter(Path(str(args.output_dir)) / "rollouts") if args.save_rollouts else None
        self._is_paced = False
        # TRL's worker and queue are on the main process only.
        if self.accelerator.is_main_process:
            if type(self.rollout_worker) is AsyncRolloutWorker:
                self.rollout_worker._loop_cls = DurationRolloutLoop
                self._is_paced = args.late_programs == "wait"
                # Before TRL's callback, which starts the worker.
                self.callback_handler.callbacks.insert(0, PaceRollouts(self))
            self.rollout_queue = RecordingQueue(self.rollout_queue, self._note)

    def _note(self, sample: RolloutSample) -> None:
        """Stamp the policy's version on a sample, and record a sample that TRL is about to drop as too stale.

        With `late_programs: wait`, updates that were made while its programs ran do not count. Otherwise a policy could write
        programs that are too slow to be trained on, and that would cost it less than programs that fail.
        """
        # The version leads from the queue to the collator in the metrics, which TRL passes on; the field itself is not.
        sample.metrics[VERSION] = float(sample.model_version)
        by_duration = SCORING_UPDATES not in sample.metrics or self.args.late_programs == "lose"
        lost_after = sample.metrics.pop(LOST_AFTER, None)
        if self._is_paced:
            # Pacing keeps samples from getting too old. Where it can only estimate (`token_budget`), one that does is trained on.
            sample.model_version = max(sample.model_version, self.model_version - self.args.max_staleness)
        elif self.args.late_programs == "wait":
            sample.model_version += int(sample.metrics.get(SCORING_UPDATES, 0))
        if self.model_version - sample.model_version <= self.args.max_staleness:
            return
        if self._rollout_writer is not None:
            record = self._record(sample.input_ids, sample.completion_mask, sample.old_log_probs, sample.metrics)
            staleness = self.model_version - record["model_version"]
            self._lost.append({**record, "advantage": sample.advantage, "staleness": staleness, "lost": True})
        seconds = sample.metrics.get(self.args.duration_column, math.nan)
        self._metrics["train"]["sample/dropped_duration_mean"].append(seconds)
        if by_duration and math.isfinite(seconds):
            self._lost_seconds.append(seconds if lost_after is None else lost_after)

    def _record(self, input_ids, completion_mask, old_log_probs, metrics: dict[str, float]) -> dict[str, Any]:
        written = completion_mask.astype(bool)
        return {
            "step": self.state.global_step,
            "prompt": self.processing_class.decode(input_ids[~written]),
            "completion": self.processing_class.decode(input_ids[written]),
            **{name: value for name, value in metrics.items() if name != VERSION},
            "model_version": int(metrics[VERSION]),
            "old_log_prob": float((old_log_probs * completion_mask).sum()),
        }

    def train(self, *args, **kwargs):
        if self._rollout_writer is not None:
            self._rollout_writer.begin()
        return super().train(*args, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        # The trainer's state is that of the checkpoint now.
        if checkpoint is not None and self._rollout_writer is not None:
            self._rollout_writer.begin(self.state.global_step)

    def get_train_dataloader(self):
        loader = super().get_train_dataloader()
        if self.accelerator.is_main_process:
            # Accelerate wraps the loader that has the collator.
            base = getattr(loader, "base_dataloader", loader)
            self._collator = DurationCollator(base.collate_fn, self.args.duration_column)
            base.collate_fn = self._collator
        return loader

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        # The only place that sees the micro-batches of one optimizer step together, over which the mean weight is 1.
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if batches:
            self._weigh(batches)
        return batches, items

    def _weigh(self, batches: list[dict[str, Any]]) -> None:
        """Multiply the advantages of this process's micro-batches of one optimizer step by the global weights."""
        lost, self._lost_seconds = self._lost_seconds, []
        reports = gather_object([([present_rows(batch) for batch in batches], lost)])
        micro_batches = [rows for process_batches, _ in reports for rows in process_batches]
        all_lost = [seconds for _, process_lost in reports for seconds in process_lost]
        weights = self._weights([row for rows in micro_batches for row in rows], all_lost)
        if self.weighting.rule.needs_durations:
            first = self.accelerator.process_index * len(batches)
            pieces = torch.split(weights, [len(rows) for rows in micro_batches])[first : first + len(batches)]
            for batch, piece in zip(batches, pieces, strict=True):
                # TRL packs several samples into one row; `segment_id` is the sample of each token.
                token_weights = piece.to(batch["advantages"].device)[batch["segment_id"].long()]
                batch["advantages"] = batch["advantages"] * token_weights.to(batch["advantages"].dtype)
        if self._collator is not None:
            self._keep([self._collator.passed.popleft() for _ in batches], weights)

    def _weights(self, rows: list[list[float]], lost: list[float]) -> torch.Tensor:
        """Weights, shape `(S,)`, of the samples of one optimizer step, and their metrics.

        Every process sees the same samples, so either all processes raise or none.

        Args:
            rows: the samples of all processes.
            lost: seconds of samples that were too stale since the last step.
        """
        batch = sample_batch(rows)
        missing = int(torch.isneginf(batch.durations).sum())
        if missing:
            if self.weighting.rule.needs_durations:
                raise DurationError(
                    f"{missing} of {len(rows)} samples have no durations, but `duration_weighting` is "
                    f"{self.args.duration_weighting!r}. Call "
                    f'`log_extra("{self.args.duration_column}", seconds)` in a reward function, put '
                    f'`sample.metrics["{self.args.duration_column}"]` into the samples of your own rollout worker, or set '
                    '`duration_weighting="none"`.'
                )
            return torch.ones_like(batch.durations)
        # Only a batch that is weighed takes them up, so they would pile up if they were reported earlier.
        self.weighting.report_lost(lost)
        weights = self.weighting.weigh(batch)
        weights.report(self._metrics["train"], main_process=self.accelerator.is_main_process)
        return weights.per_completion

    def _keep(self, passed: list[list[list[dict[str, Any]]]], weights: torch.Tensor) -> None:
        """Write the samples of one optimizer step, and those that were lost since the last one (main process)."""
        if self._rollout_writer is None:
            return
        # The weights are in the order of the processes, and within each of its micro-batches.
        samples = [sample for process in range(len(passed[0])) for batch in passed for sample in batch[process]]
        records = []
        for sample, weight in zip(samples, weights.tolist(), strict=True):
            record = self._record(
                sample["input_ids"], sample["completion_mask"], sample["old_log_probs"], sample["metrics"]
            )
            fields = {"group_id": sample["group_id"], "advantage": sample["advantage"], "duration_weight": weight}
            staleness = self.model_version - record["model_version"]
            records.append({**record, **fields, "staleness": staleness, "lost": False})
        self._rollout_writer.write_records(records, step=self.state.global_step, kind="train")
        if self._lost:
            self._rollout_writer.write_records(self._lost, step=self.state.global_step, kind="lost")
            self._lost = []

    def create_model_card(self, *args, **kwargs):
        """The model card of TRL, with the weighting and `model_card_sections`."""
        super().create_model_card(*args, **kwargs)
        if not self.is_world_process_zero():
            return
        readme = Path(str(self.args.output_dir)) / "README.md"
        add_sections(readme, {"Duration weighting": weighting_section(self.args), **self.model_card_sections})
        add_metadata(readme, self.model_card_metadata)
