"""`SeededRows`, `RowLengths`: each row of a batch has a random generator, and a longest completion, of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria, TopPLogitsWarper


class StoppedError(Exception):
    """Nobody waits for the batch any more."""


class SeededRows(LogitsProcessor):
    """Turns greedy decoding into sampling: the largest of logit plus Gumbel noise is a sample of the softmax.

    `generate` draws all rows of a batch from one generator, so that a sample depends on its neighbours. Here the noise of a row
    comes from its own generator (the Gumbel-max trick, https://arxiv.org/abs/1411.0030).

    Args:
        seeds (sequence of `int`):
            Seed of each of the `B` rows.
        temperature (`float`):
            Temperature; 0 leaves decoding greedy.
        top_p (`float`):
            Share of the probability that is sampled from.
        device (`str`):
            Device of the generators.
        stop (`threading.Event`):
            Once it is set, the next token raises [`StoppedError`].
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float, device: str, stop: threading.Event):
        self.temperature = temperature
        self.stop = stop
        self._nucleus = TopPLogitsWarper(top_p) if top_p < 1 else None
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Scores of shape (B, V) with noise."""
        if self.stop.is_set():
            raise StoppedError
        if self.temperature == 0:
            return scores
        logits = scores.float() / self.temperature
        if self._nucleus is not None:
            logits = self._nucleus(input_ids, logits)
        exponential = torch.empty_like(logits)
        for row, generator in zip(exponential, self._generators, strict=True):
            row.exponential_(generator=generator)
        # -log of an exponential variable is a Gumbel variable.
        return logits - exponential.clamp_min(torch.finfo(logits.dtype).tiny).log()  # type: ignore[return-value]


class RowLengths(StoppingCriteria):
    """Ends each row of a batch at its own number of new tokens.

    Args:
        most (sequence of `int`):
            Most new tokens of each of the `B` rows.
        prompt (`int`):
            Tokens of the padded prompts.
        device (`str`):
            Device of the batch.
    """

    def __init__(self, most: Sequence[int], prompt: int, device: str):
        self._most = torch.tensor(most, device=device)
        self._prompt = prompt

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> torch.BoolTensor:
        """Whether a row has ended, shape (B,)."""
        return input_ids.shape[1] - self._prompt >= self._most  # type: ignore[return-value]
