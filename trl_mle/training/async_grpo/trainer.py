"""Duration-aware training with rollouts that never wait for the learner: over TRL's `AsyncGRPOTrainer`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import PreTrainedTokenizerBase
from trl.experimental.async_grpo import AsyncGRPOTrainer
from trl.experimental.async_grpo.async_rollout_worker import AsyncRolloutWorker, RolloutSample

from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.async_grpo.config import AsyncDurationAwareConfig
from trl_mle.training.async_grpo.rollouts import VERSION, DurationCollator, DurationRolloutLoop, RecordingQueue
from trl_mle.training.rollout_writer import RolloutWriter
from trl_mle.training.trainer import DurationAwareTrainer
from trl_mle.training.weighting.duration import advantage_mass, duration_weights, effective_sample_size
from trl_mle.training.weighting.inclusion import InclusionModel, KeepInclusion


class AsyncDurationAwareTrainer(AsyncGRPOTrainer):
    """`trl.experimental.async_grpo.AsyncGRPOTrainer` whose only change to training is that each sample's advantage is
    multiplied by a weight that depends on how long its program ran (arXiv 2509.01684).

    The weight has mean 1 over the samples of one optimizer step: all processes, all micro-batches. Reward functions report
    durations as with [`DurationAwareTrainer`], by `log_extra("action_duration", seconds)`; a rollout worker of one's own puts
    them into `sample.metrics["action_duration"]`. The importance ratio is TRL's: it uses the log-probabilities of the policy
    that wrote the sample. Samples past `max_staleness` are dropped by TRL. Beside training, every sample is kept with
    weight, policy version, staleness and log-probability in `output_dir/rollouts/train_*.parquet`, the dropped ones in
    `lost_*.parquet`.

    A conversation that TRL takes apart into several samples has the seconds of the whole conversation in each of them.

    Args:
        args ([`AsyncDurationAwareConfig`], *optional*):
            Configuration. A plain `AsyncGRPOConfig` is an error.
        **kwargs:
            As in `AsyncGRPOTrainer`.

    Raises:
        DurationError: samples without durations, or with impossible ones.
    """

    args: AsyncDurationAwareConfig
    processing_class: PreTrainedTokenizerBase
    rollout_queue: Any
    _tag_names = ["trl", "async-grpo", "duration-aware", "trl-mle"]  # noqa: RUF012 (as in TRL)
    _name = "asynchronous duration-aware GRPO"
    _paper = DurationAwareTrainer._paper

    def __init__(self, model: str, reward_funcs=None, args: AsyncDurationAwareConfig | None = None, *rest, **kwargs):
        if args is None:
            args = AsyncDurationAwareConfig(f"{Path(model).name}-duration-aware-AsyncGRPO")
        if not isinstance(args, AsyncDurationAwareConfig):
            raise ConfigError(
                f"`args` is a {type(args).__name__}; AsyncDurationAwareTrainer needs an AsyncDurationAwareConfig (same fields, "
                "plus `duration_weighting` and its kin)."
            )
        super().__init__(model, reward_funcs, args, *rest, **kwargs)
        self._lost: list[dict[str, Any]] = []
        self.inclusion = InclusionModel(args.duration_rule, args.duration_memory)
        if args.duration_weighting == "inverse_inclusion":
            self.add_callback(KeepInclusion(self.inclusion))
        self._lost_seconds: list[float] = []
        self._collator: DurationCollator | None = None
        self._rollout_writer = RolloutWriter(Path(str(args.output_dir)) / "rollouts") if args.save_rollouts else None
        if self.accelerator.is_main_process:
            if type(self.rollout_worker) is AsyncRolloutWorker:
                self.rollout_worker._loop_cls = DurationRolloutLoop
            self.rollout_queue = RecordingQueue(self.rollout_queue, self._note)

    def _note(self, sample: RolloutSample) -> None:
        """Stamp the policy's version on a sample, and record one that TRL is about to drop as too stale."""
        sample.metrics[VERSION] = float(sample.model_version)
        staleness = self.model_version - sample.model_version
        if staleness > self.args.max_staleness:
            if self._rollout_writer is not None:
                record = self._record(sample.input_ids, sample.completion_mask, sample.old_log_probs, sample.metrics)
                self._lost.append({**record, "advantage": sample.advantage, "staleness": staleness, "lost": True})
            seconds = sample.metrics.get(self.args.duration_column, math.nan)
            self._metrics["train"]["sample/dropped_duration_mean"].append(seconds)
            if math.isfinite(seconds):
                self._lost_seconds.append(seconds)

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

    def get_train_dataloader(self):
        loader = super().get_train_dataloader()
        if self.accelerator.is_main_process:
            base = getattr(loader, "base_dataloader", loader)
            self._collator = DurationCollator(base.collate_fn, self.args.duration_column)
            base.collate_fn = self._collator
        return loader

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        # The micro-batches of one optimizer step, all at once: what the mean of the weights is taken over.
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if batches:
            self._weigh(batches)
        return batches, items

    def _weigh(self, batches: list[dict[str, Any]]) -> None:
        """Multiply the advantages of one optimizer step's micro-batches, of this process, by the global weights."""
        own = []
        for batch in batches:
            present = batch["sample_counts"][0] >= 0
            own.append((batch["sample_seconds"][0][present].tolist(), batch["sample_counts"][0][present].tolist()))
        own_lost, self._lost_seconds = self._lost_seconds, []
        reports = gather_object([(own, own_lost)])
        everyone = [part for part, _ in reports]
        flat = [value for part in everyone for values, _ in part for value in values]
        seconds = torch.tensor(flat, dtype=torch.float64)
        counted = torch.tensor([bool(value) for part in everyone for _, values in part for value in values])
        lost = torch.tensor([value for _, values in reports for value in values], dtype=torch.float64)
        weights = self._weights(seconds, counted, lost)
        sizes = [len(values) for part in everyone for values, _ in part]
        pieces = list(torch.split(weights, sizes))
        first = self.accelerator.process_index * len(batches)
        if self.args.duration_weighting != "none":
            for batch, piece in zip(batches, pieces[first : first + len(batches)], strict=True):
                of_token = piece.to(batch["advantages"].device)[batch["segment_id"].long()]
                batch["advantages"] = batch["advantages"] * of_token.to(batch["advantages"].dtype)
        if self._collator is not None:
            self._keep([self._collator.passed.popleft() for _ in batches], weights)

    def _weights(self, seconds: torch.Tensor, counted: torch.Tensor, lost: torch.Tensor) -> torch.Tensor:
        """Weights `(S,)` of the samples of one optimizer step; `lost`, `(L,)`, are the seconds of those that were too stale.
        Every process sees the same, so all raise or none does."""
        if torch.isneginf(seconds).any():
            if self.args.duration_weighting != "none":
                raise DurationError(
                    f"{int(torch.isneginf(seconds).sum())} of {seconds.numel()} samples have no durations, but "
                    f"`duration_weighting` is {self.args.duration_weighting!r}. Call "
                    f'`log_extra("{self.args.duration_column}", seconds)` in a reward function, put '
                    f'`sample.metrics["{self.args.duration_column}"]` into the samples of your own rollout worker, or set '
                    '`duration_weighting="none"`.'
                )
            return torch.ones_like(seconds)
        inclusion = None
        if self.args.duration_weighting == "inverse_inclusion":
            self.inclusion.observe(seconds[counted])
            self.inclusion.observe(lost, True)
            inclusion = self.inclusion.probability(seconds)
        weights = duration_weights(
            seconds,
            self.args.duration_weighting,
            clip=self.args.duration_clip,
            floor_s=self.args.duration_floor_s,
            mask=counted,
            exponent=self.args.duration_exponent,
            inclusion=inclusion,
            min_inclusion=self.args.duration_min_inclusion,
        )
        metrics = self._metrics["train"]
        metrics["duration/unscorable_share"].append(1.0 - counted.double().mean().item())
        metrics["duration/lost_share"].append(lost.numel() / (lost.numel() + seconds.numel()))
        if counted.any():
            known = torch.nan_to_num(seconds, nan=0.0)[counted]
            metrics["duration/mean"].append(known.mean().item())
            metrics["duration/max"].append(known.max().item())
            metrics["duration/weight_max"].append(weights[counted].max().item())
            metrics["duration/weight_ess"].append(effective_sample_size(weights[counted]))
        return weights

    def _keep(self, passed: list[list[list[dict[str, Any]]]], weights: torch.Tensor) -> None:
        """Write the samples of one optimizer step, and those that were lost since the last one (main process)."""
        samples = [sample for process in range(len(passed[0])) for batch in passed for sample in batch[process]]
        advantages = torch.tensor([sample["advantage"] for sample in samples], dtype=torch.float64)
        seconds = torch.tensor([sample["metrics"].get(self.args.duration_column, math.nan) for sample in samples])
        for quarter, share in enumerate(advantage_mass(torch.nan_to_num(seconds), advantages * weights), start=1):
            self._metrics["train"][f"duration/advantage_mass_q{quarter}"].append(share)
        if self._rollout_writer is None:
            return
        records = []
        for sample, weight in zip(samples, weights.tolist(), strict=True):
            record = self._record(
                sample["input_ids"], sample["completion_mask"], sample["old_log_probs"], sample["metrics"]
            )
            staleness = self.model_version - record["model_version"]
            own = {"group_id": sample["group_id"], "advantage": sample["advantage"], "duration_weight": weight}
            records.append({**record, **own, "staleness": staleness, "lost": False})
        self._rollout_writer.write_records(records, step=self.state.global_step, kind="train")
        if self._lost:
            self._rollout_writer.write_records(self._lost, step=self.state.global_step, kind="lost")
            self._lost = []
