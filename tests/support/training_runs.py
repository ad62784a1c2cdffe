"""Small trainings whose rewards and durations depend on the text alone, and how two of them are compared."""

from __future__ import annotations

import torch

from tests.support.tiny import tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer


def letters(completions, log_extra=None, durations=None, **kwargs):
    """A reward that depends on the text alone."""
    return [float(sum(map(ord, text)) % 17) for text in completions]


def with_durations(durations):
    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", durations(completions))
        return letters(completions)

    return reward


def unequal(completions):
    return [0.5 + sum(map(ord, text)) % 5 for text in completions]


def train(trainer_class, args, reward):
    trainer = trainer_class(
        model=tiny_model(),
        reward_funcs=reward,
        args=args,
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return trainer, losses, {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_same_run(ours, theirs):
    assert ours[1] == theirs[1]
    assert ours[2].keys() == theirs[2].keys()
    assert all(torch.equal(ours[2][name], theirs[2][name]) for name in ours[2])


class Recording(DurationAwareTrainer):
    """Keeps what TRL would have trained on beside what is trained on."""

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        rows = len(output["advantages"])
        self.seen = (
            output["advantages"].clone(),
            list(self._logs["advantages"])[-rows:],
            self._scored.reported.durations.clone(),
        )
        return output
