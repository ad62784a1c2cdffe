"""The GRPO trainer whose advantages are weighted by how long each action ran."""

from __future__ import annotations

import logging
import math
import textwrap
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from trl_mle.errors import ConfigError, DurationError
from trl_mle.training.config import DurationAwareConfig
from trl_mle.training.distributed import errors_reach_all, raise_together
from trl_mle.training.model_card import add_sections
from trl_mle.training.overlap.trainer import OverlappingTrainer
from trl_mle.training.rollout_writer import RolloutWriter
from trl_mle.training.weighting.actions import SECONDS_COLUMN, TOKENS_COLUMN, Actions, gathered_actions, token_weights
from trl_mle.training.weighting.diagnostics import DurationWatch, WeightedBatch, duration_metrics
from trl_mle.training.weighting.duration import duration_weights
from trl_mle.training.weighting.inclusion import InclusionModel, KeepInclusion

logger = logging.getLogger(__name__)


class DurationAwareTrainer(OverlappingTrainer):
    """`trl.GRPOTrainer` whose only change to training is that each completion's advantage is multiplied by a weight that
    depends on how long its action ran (arXiv 2509.01684).

    The weight has mean 1 over the global generation batch (all processes), see [`duration_weights`]. With
    `duration_weighting="none"`, and wherever all durations are equal, losses and weights are those of `GRPOTrainer` to the
    bit. The KL term (`beta`) is not weighted. Beside training, every rollout is kept (see [`RolloutWriter`]).

    Durations come from the reward functions: any of them, and exactly one, calls
    `log_extra("action_duration", seconds)` with one number a completion (`None` for a completion that never ran). It may
    also report `log_extra("action_censored", flags)` for completions that were stopped by a time limit. A stopped completion
    without a reward (`None`) was lost by duration; so are samples that never join a batch, see [`report_lost`].

    Where a completion holds several actions, `log_extra("action_durations", lists)` gives each action's tokens the weight of
    its own seconds, see `trl_mle.training.weighting.actions`. The mean of the weights is over the actions that are trained
    on: those of unscorable and of masked truncated completions have no part in it.

    With `overlap_execution` programs run while the policy generates and learns, see [`OverlappingTrainer`].

    Example:

    ```python
    import time
    from trl_mle import DurationAwareConfig, DurationAwareTrainer

    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [0.1 * len(text) for text in completions])
        return [float(len(set(text))) for text in completions]

    trainer = DurationAwareTrainer(
        model="Qwen/Qwen2.5-0.5B-Instruct", reward_funcs=reward, args=DurationAwareConfig("out"), train_dataset=dataset
    )
    trainer.train()
    ```

    Args:
        args ([`DurationAwareConfig`], *optional*):
            Configuration. A plain `trl.GRPOConfig` is an error.
        **kwargs:
            As in `trl.GRPOTrainer`.

    Raises:
        DurationError: a reward function reports no durations, the wrong number of them, or impossible ones.
    """

    args: DurationAwareConfig
    _logs: dict[str, Any]
    _tag_names = ["trl", "grpo", "duration-aware", "trl-mle"]  # noqa: RUF012 (as in TRL)
    _name = "duration-aware GRPO"
    _paper = {  # noqa: RUF012 (as in TRL)
        "title": "Reinforcement Learning for Machine Learning Engineering Agents",
        "id": "2509.01684",
        # docstyle-ignore
        "citation": textwrap.dedent("""\
            @inproceedings{yang2026reinforcement,
                title        = {{Reinforcement Learning for Machine Learning Engineering Agents}},
                author       = {Sherry Yang and Joy He-Yueya and Percy Liang},
                year         = 2026,
                booktitle    = {International Conference on Learning Representations},
                eprint       = {arXiv:2509.01684},
            }"""),
    }

    def __init__(self, model, reward_funcs=None, args: DurationAwareConfig | None = None, *rest, **kwargs):
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = DurationAwareConfig(f"{Path(name).name}-duration-aware-GRPO")
        if not isinstance(args, DurationAwareConfig):
            raise ConfigError(
                f"`args` is a {type(args).__name__}; DurationAwareTrainer needs a DurationAwareConfig (same fields, plus "
                "`duration_weighting` and its kin)."
            )
        self.model_card_sections: dict[str, str] = {}
        """Title -> Markdown, added to the model card; the trainer adds its own section on duration weighting."""
        self._scorable = torch.empty(0, dtype=torch.bool)
        self._rewards = torch.empty(0)
        self._durations: torch.Tensor | None = None
        self._actions: Actions | None = None
        self._fresh_columns: frozenset[str] = frozenset()
        self._lost_elsewhere: list[float] = []
        self.inclusion = InclusionModel(args.duration_rule, args.duration_memory)
        self._watch = DurationWatch(args.duration_weighting, args.duration_exponent, args.duration_min_inclusion)
        super().__init__(model, reward_funcs, args, *rest, **kwargs)
        if args.duration_weighting == "inverse_inclusion":
            self.add_callback(KeepInclusion(self.inclusion))
        self._warn_of_inexact_resume()
        self._rollout_writer = RolloutWriter(Path(str(args.output_dir)) / "rollouts") if args.save_rollouts else None

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        # After super(), the columns of `log_extra` hold this batch and are not yet flushed to TRL's log of completions.
        with errors_reach_all(self):
            rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._scorable = ~torch.isnan(rewards_per_func).all(dim=1).cpu()  # (B,), global
        weights = self.reward_weights.to(rewards_per_func.device).unsqueeze(0)
        self._rewards = (rewards_per_func * weights).nansum(dim=1).cpu()  # (B,), global
        self._durations = self._gather_durations([len(ids) for ids in completion_ids_list])
        return rewards_per_func

    def _gather_durations(self, lengths: list[int]) -> torch.Tensor | None:
        """Seconds of the global batch, shape `(B,)` with NaN for completions that never ran; `None` if none are needed.

        `lengths` are the tokens of this process's completions. Several actions in a completion go into `self._actions`.

        The check is made on every rank from the gathered values, so that all ranks raise or none does.
        """
        column = self.args.duration_column
        values = self._pending_extra_logs.get(column)
        columns = {name: len(items) for name, items in self._pending_extra_logs.items()}
        report = {"rows": len(lengths), "values": None if values is None else list(values), "columns": columns}
        report |= {
            "lengths": lengths,
            **{name: self._pending_extra_logs.get(name) for name in (SECONDS_COLUMN, TOKENS_COLUMN)},
        }
        reports = gather_object([report])
        # Columns that have one value for every row of this batch; TRL's log may still hold others of earlier batches.
        names = {name for report in reports for name in report["columns"]}
        self._fresh_columns = frozenset(
            name for name in names if all(r["columns"].get(name, r["rows"]) == r["rows"] for r in reports)
        )
        self._actions = gathered_actions(reports)
        if self._actions is not None:
            return self._actions.row_seconds()
        if all(report["values"] is None for report in reports):
            if self.args.duration_weighting == "none":
                return None
            raise DurationError(
                f"No reward function reported durations, but `duration_weighting` is {self.args.duration_weighting!r}. Call "
                f'`log_extra("{column}", seconds)` in one of {self.reward_func_names} with one number a completion, or set '
                '`duration_weighting="none"`.'
            )
        seconds: list[float] = []
        for rank, report in enumerate(reports):
            reported = [] if report["values"] is None else report["values"]
            if len(reported) != report["rows"]:
                raise DurationError(
                    f'`log_extra("{column}", ...)` got {len(reported)} durations for {report["rows"]} completions (process '
                    f"{rank}). Report exactly one a completion, from exactly one of {self.reward_func_names}."
                )
            for row, value in enumerate(reported):
                seconds.append(self._as_seconds(value, row, rank))
        return torch.tensor(seconds, dtype=torch.float64)

    def _as_seconds(self, value: Any, row: int, rank: int) -> float:
        if value is None:
            return math.nan
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -math.inf
        if math.isinf(number) or number < 0:
            raise DurationError(
                f"Duration {value!r} of completion {row} (process {rank}) is not a number of seconds. Report a number >= 0, "
                "or None for a completion that never ran."
            )
        return number

    def _generate_and_score_completions(self, inputs):
        mode = "train" if self.model is not None and self.model.training else "eval"
        self._fit_logs(len(inputs) * self.accelerator.num_processes)
        output = super()._generate_and_score_completions(inputs)
        weights = None
        if self._durations is not None:
            counted = self._counted(output["completion_mask"])
            actions = self._actions
            inclusion = self._inclusion(mode)
            weights = per_action = duration_weights(
                self._durations if actions is None else actions.seconds,
                self.args.duration_weighting,
                clip=self.args.duration_clip,
                floor_s=self.args.duration_floor_s,
                mask=counted if actions is None else counted[actions.rows],
                exponent=self.args.duration_exponent,
                # A completion is lost as a whole, by the sum of its actions' seconds.
                inclusion=inclusion if actions is None or inclusion is None else inclusion[actions.rows],
                min_inclusion=self.args.duration_min_inclusion,
            )
            if actions is not None:
                weights = actions.row_means(per_action)
            self._log_duration_metrics(weights, inclusion, mode)
            if self.args.duration_weighting != "none":
                of_tokens = None if actions is None else self._token_weights(output, actions, per_action)
                output["advantages"] = self._weighted(output["advantages"], weights, of_tokens)
        self._keep_rollouts(weights, mode)
        return output

    def _fit_logs(self, rows: int) -> None:
        """TRL's log of completions holds a generation batch of training; an evaluation batch may have more rows."""
        rows = max(rows, self.args.generation_batch_size or 0)
        logs = self._logs
        if logs["prompt"].maxlen == rows:
            return
        for name in ("images", "prompt", "completion", "advantages"):
            logs[name] = deque(logs[name], maxlen=rows)
        for name in ("rewards", "extra"):
            kept = {column: deque(values, maxlen=rows) for column, values in logs[name].items()}
            logs[name] = defaultdict(lambda: deque(maxlen=rows), kept)

    def _counted(self, completion_mask: torch.Tensor) -> torch.Tensor:
        """Which completions of the global batch are trained on, shape `(B,)`; the mean of the weights is over them."""
        if not self.args.mask_truncated_completions:
            return self._scorable
        return self._scorable & self.accelerator.gather(completion_mask.any(dim=1).long()).bool().cpu()

    def _token_weights(self, output: dict[str, Any], actions: Actions, per_action: torch.Tensor) -> torch.Tensor:
        """Weights of this process's tokens, shape `(b, T)`, from those of all actions, `(A,)`."""
        policy_tokens = output["completion_mask"] * output.get("tool_mask", 1)
        error, weights = None, torch.empty(0)
        try:
            first = self.accelerator.process_index * len(policy_tokens)
            weights = token_weights(actions, per_action, policy_tokens.bool(), first)
        except DurationError as raised:
            error = raised
        raise_together(error)
        return weights

    def _weighted(
        self, advantages: torch.Tensor, weights: torch.Tensor, of_tokens: torch.Tensor | None = None
    ) -> torch.Tensor:
        """This process's advantages, `(b,)` or `(b, T)`, times its part of the global weights `(B,)`, or `of_tokens` `(b, T)`."""
        rows = advantages.size(0)
        if of_tokens is not None:
            per_token = advantages if advantages.dim() == 2 else advantages.unsqueeze(1)
            return per_token * of_tokens.to(device=advantages.device, dtype=advantages.dtype)
        first = self.accelerator.process_index * rows
        local = weights[first : first + rows].to(device=advantages.device, dtype=advantages.dtype)
        return advantages * (local if advantages.dim() == 1 else local.unsqueeze(1))

    def report_lost(self, seconds: Sequence[float]) -> None:
        """Tell of samples that will never join a batch because they took too long (discarded, too stale), each with the
        seconds after which it was lost. To be called with the same seconds on all processes; the next batch counts them."""
        self._lost_elsewhere.extend(seconds)

    def _inclusion(self, mode: str) -> torch.Tensor | None:
        """Probability that each completion of the global batch was included, `(B,)`, if the weights need it; the model of
        inclusion learns of the batch, and of what was lost on the way to it, first."""
        if self.args.duration_weighting != "inverse_inclusion":
            return None
        if mode == "train":
            self.inclusion.observe(*self._weighted_batch(mode).candidates())
        assert self._durations is not None
        return self.inclusion.probability(self._durations)

    def _weighted_batch(
        self, mode: str, weights: torch.Tensor | None = None, inclusion: torch.Tensor | None = None
    ) -> WeightedBatch:
        assert self._durations is not None
        rows = len(self._durations)
        censored = None
        if "action_censored" in self._fresh_columns:
            censored = torch.tensor([bool(flag) for flag in list(self._logs["extra"]["action_censored"])[-rows:]])
        return WeightedBatch(
            durations=self._durations,
            rewards=self._rewards,
            advantages=torch.tensor(list(self._logs["advantages"])[-rows:], dtype=torch.float64),
            weights=torch.ones(rows, dtype=torch.float64) if weights is None else weights,
            scorable=self._scorable,
            censored=censored,
            lost_elsewhere=torch.tensor(self._lost_elsewhere, dtype=torch.float64) if mode == "train" else None,
            inclusion=inclusion,
        )

    def _log_duration_metrics(self, weights: torch.Tensor, inclusion: torch.Tensor | None, mode: str) -> None:
        """What shows a fast bias, and a warning where the weighting does not fit what is lost."""
        batch = self._weighted_batch(mode, weights, inclusion)
        for name, value in duration_metrics(batch, self.args.duration_min_inclusion).items():
            self._metrics[mode][name].append(value)
        if mode == "train":
            self._lost_elsewhere.clear()
            if self.accelerator.is_main_process:
                self._watch.look_at(batch)

    def _keep_lost(self, records: list[dict[str, Any]]) -> None:
        stale = [record for record in records if record["lost_because"] == "too stale"]
        self.report_lost([record["waited_s"] for record in stale if not record["finished"]])
        if self._rollout_writer is not None and self.accelerator.is_main_process:
            self._rollout_writer.write_records(records, step=self.state.global_step)

    def _keep_rollouts(self, weights: torch.Tensor | None, mode: str) -> None:
        """Add the weight to TRL's table of completions and write this generation batch to disk (main process)."""
        rows = len(self._scorable)
        columns = set(self._fresh_columns)
        if weights is not None:
            self._logs["extra"]["duration_weight"].extend(weights.tolist())
            columns.add("duration_weight")  # of several actions: their mean
        self._align_extra_columns(rows, columns)
        if self._rollout_writer is not None and self.accelerator.is_main_process:
            self._rollout_writer.write(
                self._logs, rows=rows, step=self.state.global_step, mode=mode, extra_columns=columns
            )

    def _align_extra_columns(self, rows: int, fresh: Collection[str]) -> None:
        """Give the columns of TRL's log of completions that these `rows` do not have, and those that earlier ones did not have,
        a `None` a row: TRL shows columns side by side, and evaluation has others than training."""
        length = len(self._logs["prompt"])
        for name, column in self._logs["extra"].items():
            if name not in fresh:
                column.extend([None] * rows)
            column.extendleft([None] * (length - len(column)))

    def _warn_of_inexact_resume(self) -> None:
        args = self.args
        micro_steps = (args.steps_per_generation or 1) * args.num_iterations
        if args.save_strategy == "steps" and args.save_steps * args.gradient_accumulation_steps % micro_steps:
            logger.warning(
                "`save_steps`=%s falls between generation batches (one every %s steps): a run that is resumed from such a "
                "checkpoint generates anew and differs from the uninterrupted one.",
                args.save_steps,
                micro_steps / args.gradient_accumulation_steps,
            )

    def create_model_card(self, *args, **kwargs):
        """The model card of TRL, with the weighting, the reward functions' own sections and `model_card_sections`."""
        super().create_model_card(*args, **kwargs)
        if not self.is_world_process_zero():
            return
        sections = {"Duration weighting": self._weighting_section()}
        for reward_func in self.reward_funcs:
            sections.update(getattr(reward_func, "model_card_sections", dict)())
        add_sections(Path(str(self.args.output_dir)) / "README.md", {**sections, **self.model_card_sections})

    def _weighting_section(self) -> str:
        args = self.args
        clip = "none" if args.duration_clip is None else f"{args.duration_clip:g}"
        return (
            f"- weighting: `{args.duration_weighting}`\n- clock: {args.duration_clock}\n- largest weight: {clip}\n"
            f"- floor: {args.duration_floor_s:g} s\n- exponent: {args.duration_exponent:g}\n"
            + (f"- collection: `{args.duration_rule}`\n" if args.duration_weighting == "inverse_inclusion" else "")
        )
