"""The part of the trainer that gives each action an advantage of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from trl_mle.training.scored_batch import ScoredBatch
from trl_mle.training.turn_credit.advantages import turn_advantages
from trl_mle.training.turn_credit.credit import Credit
from trl_mle.training.turn_credit.metrics import cut_rows, turn_metrics
from trl_mle.training.turn_credit.rewards import check_finite, gather_turn_rewards
from trl_mle.training.weighted_advantages import local_token_values
from trl_mle.training.weighting.weighting import Weights


class TurnCredit:
    """Credit of the actions of [`DurationAwareTrainer`], by the rule that `turn_credit` names.

    Args:
        trainer ([`DurationAwareTrainer`]):
            The trainer that it is a part of.
    """

    def __init__(self, trainer: Any):
        self._trainer = trainer
        self.is_per_turn: bool = trainer.args.turn_credit == "return"

    def scored(
        self, batch: ScoredBatch, logged: Mapping[str, Sequence[Any]], lengths: list[int], group_size: int
    ) -> ScoredBatch:
        """`batch` with the advantages of its actions, if each has its own; to be called by all processes.

        Args:
            logged: this process's columns of `log_extra`.
            lengths: number of tokens of each completion of this process.
            group_size: completions per group.

        Raises:
            CreditError: rewards, or rewards of actions, that cannot be used. On every process, since all see the same.
        """
        if not self.is_per_turn:
            return batch
        check_finite(batch.rewards, batch.scorable)
        args = self._trainer.args
        reported = gather_turn_rewards(
            logged, lengths, batch.scorable, batch.reported.actions, self._trainer.reward_func_names
        )
        found = turn_advantages(
            batch.rewards,
            batch.scorable,
            reported.values,
            reported.actions.rows,
            group_size,
            scale=args.scale_rewards,
            discount=args.turn_discount,
        )
        return replace(batch, credit=Credit(reported.actions, found.per_action, found.flat))

    def assign(self, output: dict[str, Any], batch: ScoredBatch, episode_advantages: torch.Tensor) -> Credit | None:
        """Put the advantages of actions, if each has its own, into `output`, as TRL returns it; to be called by all processes.

        Args:
            episode_advantages (`torch.Tensor` of shape `(B,)`):
                Advantages of the completions of the global batch, as TRL has computed them.

        Returns:
            The advantage of every action; `None` if the actions of the completions are unknown.
        """
        credit = batch.credit
        if credit is None:
            actions = batch.reported.actions
            return None if actions is None else Credit(actions, episode_advantages[actions.rows])
        process = self._trainer.accelerator.process_index
        per_token = local_token_values(output, credit.actions, credit.advantages, process)
        output["advantages"] = per_token.to(output["advantages"])
        return credit

    def log(self, credit: Credit, weights: Weights | None, output: Mapping[str, Any], mode: str) -> None:
        """Add the metrics of turns to those of the trainer; to be called by all processes, with the same values.

        Args:
            weights: those of the global batch, if there are any.
            output: what TRL returned for this process's completions.
        """
        metrics = self._trainer._metrics[mode]
        rows = len(credit.actions.tokens)
        cut = self._cut(output, list(self._trainer._logs["completion"])[-rows:])
        for name, value in turn_metrics(credit.actions, credit.pushes(weights), cut).items():
            metrics[name].append(value)

    def _cut(self, output: Mapping[str, Any], completions: Sequence[Any]) -> torch.Tensor:
        """Which completions of the global batch were cut, shape `(B,)`; to be called by all processes. See [`cut_rows`]."""
        trainer = self._trainer
        first = trainer.accelerator.process_index * len(output["completion_mask"])
        own = completions[first : first + len(output["completion_mask"])]
        ends = [*trainer.eos_token_ids, trainer._tokenizer.pad_token_id]
        cut = cut_rows(output["completion_ids"], output["completion_mask"], ends, own)
        return trainer.accelerator.gather(cut.long().to(output["completion_ids"].device)).bool().cpu()
