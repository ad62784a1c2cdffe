"""The GRPO trainer whose advantages are weighted by how long each action ran."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object

from trl_mle.errors import ConfigError
from trl_mle.training.best_checkpoint import evaluated_metrics, has_metric
from trl_mle.training.collapse.watch import CollapseWatch
from trl_mle.training.completions_log import align_columns, fit_log
from trl_mle.training.config import DurationAwareConfig
from trl_mle.training.distributed import errors_reach_all, raised_on_all
from trl_mle.training.flat_groups.part import FlatGroups
from trl_mle.training.group_prompts import GroupPrompts, GroupPromptsPart
from trl_mle.training.model_card import PAPER, add_metadata, add_sections, credit_section, weighting_section
from trl_mle.training.overlap.execution import OverlapExecution
from trl_mle.training.overlap.timing import OverlapTiming
from trl_mle.training.phase_timer import timed
from trl_mle.training.program_table import ProgramTable
from trl_mle.training.ranks import check_ranked, rank_rewards
from trl_mle.training.reported_durations import check_clock, gather_durations, no_durations
from trl_mle.training.resume.trainer import ResumableTrainer
from trl_mle.training.reward_scale import RewardScale, scale_keys
from trl_mle.training.rollout_writer import RolloutWriter, logged_columns
from trl_mle.training.scored_batch import ScoredBatch
from trl_mle.training.shared_prompts import SharedPrompts
from trl_mle.training.turn_credit.credit import Credit
from trl_mle.training.turn_credit.part import TurnCredit
from trl_mle.training.turns.parsing import any_text_is_a_message
from trl_mle.training.turns.tool_rollouts import ToolRollouts, tool_rollouts_of
from trl_mle.training.weighted_advantages import flags, local_token_values, weighted
from trl_mle.training.weighting.actions import rename_old_column, warn_of_old_column
from trl_mle.training.weighting.samples import SampleBatch
from trl_mle.training.weighting.weighting import DurationWeighting, Weights, deprecated_inclusion

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
    from peft import PeftConfig, PeftModel
    from transformers import (
        BitsAndBytesConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
        ProcessorMixin,
        TrainerCallback,
    )
    from trl.trainer.grpo_trainer import EnvironmentFactory, RewardFunc, RolloutFunc

logger = logging.getLogger(__name__)


class DurationAwareTrainer(ResumableTrainer):
    """`trl.GRPOTrainer` whose only change to training is that each completion's advantage is multiplied by a weight that
    depends on how long its action ran (arXiv 2509.01684).

    The weight has mean 1 over the global generation batch (all processes), see [`duration_weights`]. With
    `duration_weighting="none"`, and if all durations are equal, losses and weights are those of `GRPOTrainer` to the bit. The
    KL term (`beta`) is not weighted. Every rollout is kept on disk (see [`RolloutWriter`]).

    Durations come from the reward functions: exactly one of them calls `log_extra("action_duration", seconds)` with one
    number per completion (`None` for a completion that never ran). It may also report `log_extra("action_censored", flags)`
    for completions that were stopped by a time limit. A stopped completion without a reward (`None`) was lost by duration.
    Samples that never join a batch are reported by [`report_lost`].

    If a completion holds several actions, `log_extra("per_action_durations", lists)` gives each action's tokens the weight of
    its own seconds, see `trl_mle.training.weighting.actions`. The mean of the weights is over the actions that are trained
    on: those of unscorable and of masked truncated completions have no part in it. With `turn_credit: return`, each action also
    has an advantage of its own, see [`TurnCreditSettings`].

    With `overlap_execution`, programs run while the policy generates and learns, see [`OverlapExecution`]. Asynchronous tools and
    tools of environments run at the same time for all rollouts, see [`ToolRollouts`].

    Example:

    ```python
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
        overlap_timing ([`OverlapTiming`], *optional*):
            Intervals and limits of waiting with `overlap_execution`.
        group_prompts ([`GroupPrompts`], *optional*):
            Chooses the prompt of each group in training, in place of the data set's.
        model, reward_funcs, train_dataset and all others:
            As in `trl.GRPOTrainer`.

    Raises:
        DurationError: a reward function reports no durations, the wrong number of them, or impossible ones, and
            `duration_weighting` needs them. With `"none"` whatever is logged is as in TRL.
    """

    args: DurationAwareConfig
    num_generations: int
    reward_funcs: list[Any]
    _logs: dict[str, Any]
    _metrics: dict[str, defaultdict[str, list[float]]]
    _tag_names = ["trl", "grpo", "duration-aware", "trl-mle"]  # noqa: RUF012 (as in TRL)
    _name = "duration-aware GRPO"
    _paper = PAPER
    inclusion = property(deprecated_inclusion)
    # A trainer that is made without `__init__`, as tests and mocks do, is TRL's.
    weighting: DurationWeighting = None  # type: ignore[assignment]
    model_card_sections: dict[str, str]
    model_card_metadata: dict[str, Any]
    _overlap: OverlapExecution | None = None
    _collapse: CollapseWatch | None = None
    _tool_rollouts: ToolRollouts | None = None
    _shared_prompts: SharedPrompts | None = None
    _scored: ScoredBatch | None = None
    _rollout_writer: RolloutWriter | None = None
    _told_of_unusable = False

    def __init__(
        self,
        model: str | PreTrainedModel | PeftModel,
        reward_funcs: RewardFunc | Callable | list[RewardFunc | Callable] | None = None,
        args: DurationAwareConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: (
            Dataset | IterableDataset | DatasetDict | IterableDatasetDict | dict[str, Dataset | IterableDataset] | None
        ) = None,
        processing_class: PreTrainedTokenizerBase | ProcessorMixin | None = None,
        reward_processing_classes: PreTrainedTokenizerBase | list[PreTrainedTokenizerBase] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None] = (None, None),
        quantization_config: BitsAndBytesConfig | None = None,
        peft_config: PeftConfig | None = None,
        tools: list[Callable] | None = None,
        rollout_func: RolloutFunc | None = None,
        environment_factory: EnvironmentFactory | dict[str, EnvironmentFactory] | None = None,
        *,
        overlap_timing: OverlapTiming | None = None,
        group_prompts: GroupPrompts | None = None,
    ):
        if args is None:
            name = model if isinstance(model, str) else model.config._name_or_path
            args = DurationAwareConfig(f"{Path(name).name}-duration-aware-GRPO")
        if not isinstance(args, DurationAwareConfig):
            raise ConfigError(
                f"`args` is a {type(args).__name__}; DurationAwareTrainer needs a DurationAwareConfig (same fields, plus "
                "`duration_weighting` and its kin)."
            )
        args.check_turn_credit()
        self.model_card_sections: dict[str, str] = {}
        """Title -> Markdown, for the model card beside the trainer's own section on duration weighting. A title of TRL's
        template, such as `Quick start`, replaces that section."""
        self.model_card_metadata: dict[str, Any] = {}
        """Fields of the header of the model card, see `training.model_card.add_metadata`."""
        self.weighting = DurationWeighting(args)
        super().__init__(
            model,
            reward_funcs,
            args,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            reward_processing_classes=reward_processing_classes,
            callbacks=callbacks,
            optimizers=optimizers,
            quantization_config=quantization_config,
            peft_config=peft_config,
            tools=tools,
            rollout_func=rollout_func,
            environment_factory=environment_factory,
        )
        check_clock(self.reward_funcs, args.duration_clock)
        check_ranked(self.reward_func_names, args.ranked_rewards or ())
        self._turn_credit = TurnCredit(self)
        if group_prompts is not None:
            self.parts.add("group_prompts", GroupPromptsPart(self, group_prompts))
        if args.reward_scale_column is not None:
            self.parts.add("reward_scale", RewardScale(self, self._last_scored))
        # After the scale: a group that is trained on again keeps the advantages that it had.
        self.parts.add("flat_groups", FlatGroups(self, self._last_scored))
        if args.collapse_action != "none":
            self._collapse = CollapseWatch(self)
            self.parts.add("collapse", self._collapse)
            self.add_callback(self._collapse.callback())
        if args.logged_programs:
            table = ProgramTable(
                args.logged_programs,
                rewards=lambda: self._last_scored().known_rewards(),
                trackers=lambda: self.callback_handler.callbacks,
            )
            self.parts.add("program_table", table)
            self.add_callback(table.callback())
        if args.overlap_execution:
            self._overlap = OverlapExecution(self, self._keep_lost, overlap_timing or OverlapTiming())
        self._tool_rollouts = tool_rollouts_of(self)
        if args.share_prompts:
            self._shared_prompts = SharedPrompts(self)
        for callback in self.weighting.callbacks():
            self.add_callback(callback)
        if args.save_rollouts:
            self._rollout_writer = RolloutWriter(Path(str(args.output_dir)) / "rollouts")
        # After the other parts: what is left to train on is what they have made of it.
        self.parts.add("micro_steps", self._micro_steps)

    def report_lost(self, seconds: Sequence[float]) -> None:
        """Count samples that never join a batch because they took too long (discarded, too stale).

        Args:
            seconds: the seconds after which each was lost, not those that it would have taken. All processes must report
                the same values; the next batch counts them.
        """
        self.weighting.report_lost(seconds)

    @property
    def stopped_for(self) -> str | None:
        """Why the watch for collapse has ended training, as a sentence; `None` if it has not.

        The policy is then the broken one, unless `load_best_model_at_end` has loaded another.
        """
        return None if self._collapse is None else self._collapse.stopped_for

    # Generation and rewards

    @property
    def _mode(self) -> str:
        return "train" if self.model is not None and self.model.training else "eval"

    def _generate(self, prompts) -> Any:
        # Completions that overlap has chosen were generated, and timed, when they were launched.
        if self._overlap is not None and self._overlap.batch is not None:
            return self._overlap.completions()
        if self.weighting is None:
            return super()._generate(prompts)
        messages = any_text_is_a_message(self._tokenizer) if self.tools else nullcontext()
        with timed("generation", self._metrics[self._mode]), messages:
            generated = super()._generate(prompts)
        if self._tool_rollouts is not None:
            self._tool_rollouts.report(self._metrics[self._mode])
        return generated

    def _tool_call_loop(
        self, prompts, prompt_ids, completion_ids, completions, logprobs, images, multimodal_fields
    ) -> Any:
        arguments = (prompts, prompt_ids, completion_ids, completions, logprobs, images, multimodal_fields)
        if self._tool_rollouts is None:
            return super()._tool_call_loop(*arguments)
        return self._tool_rollouts.run(super()._tool_call_loop, *arguments)

    def _generate_single_turn(self, prompt_ids, images, *args, **kwargs) -> Any:
        if self._tool_rollouts is None:
            return super()._generate_single_turn(prompt_ids, images, *args, **kwargs)
        return self._tool_rollouts.generate(super()._generate_single_turn, prompt_ids, images, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
        logps = None if self._overlap is None else self._overlap.replayed_logps(logits_to_keep)
        if logps is not None:
            return logps, None, None
        found = self.present_logps(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
        if self._collapse is not None and self._collapse.update_size is not None:
            self._collapse.update_size.keep(
                found[0], (model, input_ids, attention_mask, logits_to_keep, *args), kwargs
            )
        return found

    def _compute_loss(self, model, inputs):
        if self._collapse is not None and self._collapse.update_size is not None:
            self._collapse.update_size.written = inputs.get("tool_mask")
        return super()._compute_loss(model, inputs)

    def present_logps(self, *args, **kwargs):
        """TRL's `_get_per_token_logps_and_entropies`, by the model as it is: nothing that overlap has recorded."""
        forward = super()._get_per_token_logps_and_entropies
        if self._shared_prompts is not None:
            forward = self._shared_prompts.wrap(forward)
        return forward(*args, **kwargs)

    def _log_completion_extra(self, column: str, values: list) -> None:
        if self.weighting is not None:
            warn_of_old_column(column)
        super()._log_completion_extra(column, values)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        if self.weighting is None:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        with errors_reach_all(self):
            if self._overlap is not None and self._overlap.batch is not None:
                rewards_per_func = self._overlap.rewards()
            else:
                with timed("programs", self._metrics[self._mode]):
                    rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        rename_old_column(self._pending_extra_logs)
        # Only here do the columns of `log_extra` hold this batch alone: TRL moves them into its log of completions next.
        reported = gather_durations(
            self._pending_extra_logs,
            [len(ids) for ids in completion_ids_list],
            self.args.duration_column,
            self.reward_func_names,
            needed=self.weighting.rule.needs_durations,
        )
        self._tell_of_unusable(reported.problem)
        if reported.durations is None and self.weighting.rule.needs_durations:
            raise no_durations(self.args.duration_column, self.args.duration_weighting, self.reward_func_names)
        values = rewards_per_func
        size = self.num_generations if self._mode == "train" else self.num_generations_eval or 1
        if self.args.ranked_rewards:
            values = rank_rewards(rewards_per_func, self.reward_func_names, self.args.ranked_rewards, size)
        weights = self.reward_weights.to(rewards_per_func.device).unsqueeze(0)
        scored = ScoredBatch(
            per_function=values,
            rewards=(rewards_per_func * weights).nansum(dim=1).cpu(),
            scorable=~torch.isnan(rewards_per_func).all(dim=1).cpu(),
            reported=reported,
            scale_keys=self._scale_keys(inputs),
        )
        lengths = [len(ids) for ids in completion_ids_list]
        self._scored = self._turn_credit.scored(scored, self._pending_extra_logs, lengths, size)
        return values

    def _scale_keys(self, inputs: list[dict[str, Any]]) -> list[Any] | None:
        """Value of `reward_scale_column` for each completion of the global batch, if that is set."""
        column = self.args.reward_scale_column
        return None if column is None else gather_object(scale_keys(inputs, column))

    def _last_scored(self) -> ScoredBatch:
        assert self._scored is not None
        return self._scored

    # Weighting

    def _tell_of_unusable(self, problem: str) -> None:
        """Say once that what is logged as durations is none, which keeps their metrics away but ends no run."""
        if problem and not self._told_of_unusable and self.accelerator.is_main_process:
            logger.warning("There are no metrics of durations, since they cannot be used. %s", problem)
            self._told_of_unusable = True

    def _generate_and_score_completions(self, inputs):
        if self.weighting is None:
            return super()._generate_and_score_completions(inputs)
        mode = self._mode
        # An evaluation batch may have more rows than TRL's log has room for.
        rows = len(inputs) * self.accelerator.num_processes
        fit_log(self._logs, max(rows, self.args.generation_batch_size or 0))
        # Evaluation waits for its programs: its rewards belong to the present policy.
        if self._overlap is None or mode == "eval":
            output = super()._generate_and_score_completions(
                self.parts.before_generation(inputs) if mode == "train" else inputs
            )
        else:
            with self._overlap.next_batch(inputs) as batch:
                output = super()._generate_and_score_completions([row.inputs for row in batch])
                # TRL leaves them out where update and generation are aligned, which late completions never are.
                output["old_per_token_logps"] = self._overlap.old_logps(output["completion_ids"].size(1))
        scored = self._last_scored()
        if self.args.ranked_rewards and scored.scorable.any():
            # TRL has logged the mean of the ranks, which is the same whatever the policy writes.
            self._metrics[mode]["reward"][-1] = scored.rewards[scored.scorable].mean().item()
        rows = len(scored.scorable)
        advantages = torch.tensor(list(self._logs["advantages"])[-rows:], dtype=torch.float64)
        credit = self._turn_credit.assign(output, scored, advantages)
        weights = self._weigh(output, scored, mode, advantages if credit is None else credit.row_sizes())
        if credit is not None:
            self._turn_credit.log(credit, weights, output, mode)
        self._keep_rollouts(weights, credit, scored, mode)
        return self.parts.after_scoring(output, mode)

    def _weigh(
        self, output: dict[str, Any], scored: ScoredBatch, mode: str, advantages: torch.Tensor
    ) -> Weights | None:
        """Weigh the advantages of `output`, and log. Returns the weights of the global batch, if any.

        Args:
            advantages (`torch.Tensor` of shape `(B,)`):
                Advantages of the completions of the global batch, for the metrics.
        """
        durations, actions = scored.reported.durations, scored.reported.actions
        if durations is None:
            return None
        rows = len(durations)
        censored = None
        # TRL's log may hold this column of an earlier batch only.
        if "action_censored" in scored.reported.columns:
            censored = flags(list(self._logs["extra"]["action_censored"])[-rows:])
        batch = SampleBatch(
            durations=durations,
            rewards=scored.rewards,
            advantages=advantages,
            scorable=scored.scorable,
            counted=self._counted(scored.scorable, output["completion_mask"]),
            censored=censored,
        )
        weights = self.weighting.weigh(batch, actions, learning=mode == "train")
        weights.report(self._metrics[mode], main_process=self.accelerator.is_main_process)
        # "none" leaves the advantages alone, so that nothing can differ from TRL's trainer, not even their shape.
        if self.weighting.rule.needs_durations:
            process, per_token = self.accelerator.process_index, None
            if actions is not None and weights.per_action is not None:
                per_token = local_token_values(output, actions, weights.per_action, process)
            first = process * len(output["advantages"])
            output["advantages"] = weighted(output["advantages"], weights.per_completion, first, per_token)
        return weights

    def _counted(self, scorable: torch.Tensor, completion_mask: torch.Tensor) -> torch.Tensor:
        """Which completions of the global batch are trained on, shape `(B,)`."""
        if not self.args.mask_truncated_completions:
            return scorable
        # TRL masks truncated completions by an empty completion mask.
        return scorable & self.accelerator.gather(completion_mask.any(dim=1).long()).bool().cpu()

    # What is kept

    def _keep_rollouts(self, weights: Weights | None, credit: Credit | None, scored: ScoredBatch, mode: str) -> None:
        """Add weights and credit to TRL's log of completions, and keep this generation batch (main process)."""
        rows, columns = len(scored.scorable), set(scored.reported.columns)
        own: dict[str, list] = {} if credit is None else credit.columns(weights)
        if weights is not None:
            own["duration_weight"] = weights.per_completion.tolist()
        for name, values in own.items():
            self._logs["extra"][name].extend(values)
            columns.add(name)
        align_columns(self._logs, rows, columns, scored.reported.logged - columns, shown=self.log_completions)
        with raised_on_all():
            if self.accelerator.is_main_process:
                step = self.state.global_step
                kept = logged_columns(self._logs, rows=rows, step=step, extra_columns=columns)
                if self._rollout_writer is not None:
                    self._rollout_writer.write_columns(kept, step=step, mode=mode)
                self.parts.observe(kept, mode)

    def _keep_lost(self, records: list[dict[str, Any]]) -> None:
        # Only programs that were too slow are lost by duration: not those that had finished, nor those that training's end
        # has stopped.
        stale = [record for record in records if record["lost_because"] == "too stale"]
        self.report_lost([record["waited_s"] for record in stale if not record["finished"]])
        with raised_on_all():
            if self._rollout_writer is not None and self.accelerator.is_main_process:
                self._rollout_writer.write_records(records, step=self.state.global_step)

    def create_model_card(self, *args, **kwargs):
        """The model card of TRL, with the weighting, the reward functions' own sections and `model_card_sections`."""
        super().create_model_card(*args, **kwargs)
        if self.weighting is None or not self.is_world_process_zero():
            return
        readme = Path(str(self.args.output_dir)) / "README.md"
        sections = {"Duration weighting": weighting_section(self.args)}
        if self.args.turn_credit != "episode":
            sections["Credit per turn"] = credit_section(self.args)
        for reward_func in self.reward_funcs:
            sections.update(getattr(reward_func, "model_card_sections", dict)())
        add_sections(readme, {**sections, **self.model_card_sections})
        add_metadata(readme, self.model_card_metadata)

    # The life of a run

    def train(self, *args, **kwargs):
        if self._collapse is not None:
            self._collapse.begin(resumes=bool(args[0] if args else kwargs.get("resume_from_checkpoint")))
        result = self._train(*args, **kwargs)
        while self._collapse is not None and (checkpoint := self._collapse.take_rollback()) is not None:
            others = {name: value for name, value in kwargs.items() if name != "resume_from_checkpoint"}
            result = self._train(checkpoint, *args[1:], **others)
        return result

    def _train(self, *args, **kwargs):
        if self._rollout_writer is not None:
            self._rollout_writer.begin()
        if self._overlap is None:
            return super().train(*args, **kwargs)
        with self._overlap.during_training():
            return super().train(*args, **kwargs)

    def _determine_best_metric(self, metrics, trial):
        metrics = evaluated_metrics(metrics, self.state.log_history, self.state.global_step)
        occasional = {name for func in self.reward_funcs for name in getattr(func, "occasional_metrics", ())}
        if not has_metric(self.args.metric_for_best_model, metrics, self.state.log_history, occasional):
            return False
        return super()._determine_best_metric(metrics, trial)

    # Checkpoints

    def _save_state(self, folder: Path) -> None:
        super()._save_state(folder)
        if self._overlap is not None:
            self._overlap.save(folder)

    def _load_state(self, folder: Path) -> None:
        super()._load_state(folder)
        if self._collapse is not None:
            self._collapse.resumed(folder)
        self._micro_steps.resume()
        if self._overlap is not None:
            self._overlap.resume(folder)
        if self._rollout_writer is not None:
            self._rollout_writer.begin(self.state.global_step)
