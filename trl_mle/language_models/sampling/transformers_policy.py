"""`TransformersPolicy`: samples of a model, or of an adapter on its base model, in this process."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, LogitsProcessorList, StoppingCriteriaList

from trl_mle.errors import ConfigError
from trl_mle.language_models.client import NoAnswerError
from trl_mle.language_models.sampling.local_policy import LocalPolicy
from trl_mle.language_models.sampling.policy import SEEDS, Sample
from trl_mle.language_models.sampling.seeded_rows import RowLengths, SeededRows, StoppedError
from trl_mle.language_models.sampling.tool_calls import parse_message

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Row:
    """One sample that is asked for."""

    ids: tuple[int, ...]
    """Tokens of the prompt."""
    most: int
    """Most tokens of the completion."""
    temperature: float
    top_p: float
    seed: int
    future: asyncio.Future[Sample]
    tools: Sequence[Mapping[str, Any]] | None = None

    @property
    def settings(self) -> tuple[float, float]:
        """Rows with equal ones can share a batch."""
        return self.temperature, self.top_p


class TransformersPolicy(LocalPolicy):
    """A policy in this process, sampled in batches.

    Samples that wait at the same time share a batch. Each row has a random generator of its own, so a sample depends on its
    prompt and seed and not on its batch, up to the rounding of the matrix products. A prompt that all rows of a batch share is
    read once.

    Args:
        model (`str`):
            Hub id, folder of a model, or folder of an adapter (`peft`), whose base model is loaded with it.
        device (`str`, *optional*):
            Device. Defaults to the first GPU, or to the CPU.
        dtype (`str`, *optional*, defaults to `"auto"`):
            Data type of the weights.
        batch_size (`int`, *optional*):
            Most rows of a batch. Defaults to 64 on a GPU and 16 on a CPU. It is halved if memory runs out.
        chat_template_kwargs (mapping, *optional*):
            Arguments of the chat template, as in training: `{"enable_thinking": False}`.

    Raises:
        ConfigError: the model cannot be loaded, or has no chat template.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ):
        super().__init__(model, chat_template_kwargs)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.batch_size = batch_size or (16 if self.device == "cpu" else 64)
        if self.batch_size < 1:
            raise ConfigError(f"`batch_size` of the policy {model!r} is {batch_size}; it must be 1 or more.")
        self.samples_per_request = self.batch_size
        self._model: Any
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
            self._model = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(f"The policy {model!r} cannot be loaded: {error}") from error
        self._check_chat_template()
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model.to(self.device).eval().requires_grad_(False)
        self.context_tokens: int | None = getattr(self._model.config, "max_position_embeddings", None)
        self._shares_prompts = True
        """Whether the state of a prompt can be repeated, as far as is known."""
        self._queue: list[_Row] = []
        self._runner: asyncio.Task[None] | None = None

    async def sample(
        self,
        messages: Sequence[Mapping[str, Any]],
        n: int,
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Sample]:
        """See [`Policy`]. Sample `i` has the seed `seed + i`."""
        if not temperature >= 0 or not 0 < top_p <= 1 or max_tokens < 1 or n < 1:
            raise ConfigError(
                f"The policy cannot be sampled with temperature {temperature}, top_p {top_p}, {max_tokens} tokens and {n} samples."
            )
        self._prepare_tools(tools)
        ids = tuple(self._ids(messages, tools))
        room = max_tokens if self.context_tokens is None else min(max_tokens, self.context_tokens - len(ids))
        if room < 1:  # beyond its context a model answers nonsense instead of failing
            raise NoAnswerError(
                "refused", f"a prompt of {len(ids)} tokens leaves no room in the context of {self.context_tokens}"
            )
        loop = asyncio.get_running_loop()
        rows = [
            _Row(ids, room, temperature, top_p, (seed + index) % SEEDS, loop.create_future(), tools)
            for index in range(n)
        ]
        self._queue += rows
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        try:
            return list(await asyncio.gather(*(row.future for row in rows)))
        finally:
            for row in rows:  # of a caller that has left; a future that is done stays done
                row.future.cancel()

    async def aclose(self) -> None:
        """See [`Policy`]."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # for the next policy of a comparison

    async def _run(self) -> None:
        while self._queue:
            self._queue = [row for row in self._queue if not row.future.done()]
            batch = self._next_batch()
            self._queue = [row for row in self._queue if row not in batch]
            if batch:
                await self._run_batch(batch)

    def _next_batch(self) -> list[_Row]:
        """The first row, and those with its settings that stay within the context with it: all are as long as the longest."""
        batch: list[_Row] = []
        prompt = most = 0
        for row in self._queue:
            longest = max(prompt, len(row.ids)), max(most, row.most)
            fits = self.context_tokens is None or sum(longest) <= self.context_tokens
            if not batch or (fits and row.settings == batch[0].settings):
                batch.append(row)
                prompt, most = longest
            if len(batch) == self.batch_size:
                break
        return batch

    async def _run_batch(self, batch: list[_Row]) -> None:
        stop, started = threading.Event(), time.monotonic()
        work = asyncio.create_task(asyncio.to_thread(self._generate, batch, stop))
        waiting = asyncio.gather(*(row.future for row in batch), return_exceptions=True)
        try:
            await asyncio.wait((work, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():  # every caller has left, so that nobody needs the rest
                stop.set()
            samples = await work
        except asyncio.CancelledError:
            stop.set()
            await asyncio.gather(work, return_exceptions=True)
            raise
        except StoppedError:
            return
        except torch.OutOfMemoryError:
            if len(batch) > 1:
                self.batch_size = max(1, len(batch) // 2)
                logger.warning(
                    "Memory ran out with %d rows; batches have %d from now on.", len(batch), self.batch_size
                )
                self._queue = [*batch, *self._queue]
                return
            _fail(batch, "unavailable", "memory ran out with one row")
        except Exception as error:  # any error of the model: each waiting caller gets it
            logger.exception("The policy %r failed", self.model)
            _fail(batch, "unavailable", f"the model failed: {type(error).__name__}: {error}")
        else:
            seconds = time.monotonic() - started
            for row, sample in zip(batch, samples, strict=True):
                if not row.future.done():
                    row.future.set_result(replace(sample, seconds=seconds))

    @torch.inference_mode()
    def _generate(self, batch: list[_Row], stop: threading.Event) -> list[Sample]:
        """The sample of each row, without its seconds."""
        temperature, top_p = batch[0].settings
        inputs = self._tokenizer.pad({"input_ids": [list(row.ids) for row in batch]}, return_tensors="pt").to(
            self.device
        )
        width = inputs["input_ids"].shape[1]
        output = self._model.generate(
            **inputs,
            **self._decoding(),
            **self._shared_prompt(batch),
            max_new_tokens=max(row.most for row in batch),
            logits_processor=LogitsProcessorList(
                [SeededRows([row.seed for row in batch], temperature, top_p, self.device, stop)]
            ),
            stopping_criteria=StoppingCriteriaList([RowLengths([row.most for row in batch], width, self.device)]),
        )
        ends = self._end_tokens()
        written = output[:, width:].tolist()
        return [self._read(row, tokens, ends) for row, tokens in zip(batch, written, strict=True)]

    def _decoding(self) -> dict[str, Any]:
        # The settings are these, whatever the model's own configuration says. Sampling is in `SeededRows`, hence `do_sample`.
        greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0}
        return {**greedy, "pad_token_id": self._tokenizer.pad_token_id}

    def _shared_prompt(self, batch: list[_Row]) -> dict[str, DynamicCache]:
        """Argument of `generate` with the keys and values of the prompt for each row, all but its last token.

        Empty if the prompt has to be read row by row.
        """
        ids = batch[0].ids
        if not self._shares_prompts or len(batch) == 1 or len(ids) == 1 or any(row.ids != ids for row in batch):
            return {}
        prompt = torch.tensor([ids[:-1]], device=self.device)
        read = self._model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            **self._decoding(),
            max_new_tokens=1,
            return_dict_in_generate=True,
        )
        # Newer versions of transformers warn of the earlier name, in the result as well as in the argument.
        name = "cache" if "cache" in tuple(read) else "past_key_values"
        cache = getattr(read, name, None)
        if not isinstance(cache, DynamicCache) or _length_of(cache) != len(ids) - 1:
            self._shares_prompts = False  # a model with a state of another kind
            return {}
        # Unlike `batch_repeat_interleave`, it takes the states of linear attention and state-space layers, too.
        cache.reorder_cache(torch.zeros(len(batch), dtype=torch.long, device=self.device))  # type: ignore[arg-type]
        return {name: cache}

    def _read(self, row: _Row, tokens: list[int], ends: set[int]) -> Sample:
        tokens = tokens[: row.most]  # padded, if others of its batch are longer
        length = next((place + 1 for place, token in enumerate(tokens) if token in ends), None)
        kept = tokens if length is None else tokens[:length]
        message = None if row.tools is None else parse_message(self._tool_tokenizer, kept, row.ids, row.tools)
        text = self._tokenizer.decode(kept, skip_special_tokens=True)
        return Sample(text, len(kept), length is None, 0.0, len(row.ids), message=message)

    def _end_tokens(self) -> set[int]:
        # A chat model often has two: one ends its turn (in the generation settings), one ends the text (the tokenizer's).
        configured = self._model.generation_config.eos_token_id
        tokens = configured if isinstance(configured, list) else [configured]
        return {token for token in (*tokens, self._tokenizer.eos_token_id) if token is not None}


def _length_of(cache: DynamicCache) -> int | None:
    """Tokens of a cache, or `None` if no layer knows their number, without which `generate` cannot go on."""
    try:
        return cache.get_seq_length()
    except ValueError:
        return None


def _fail(batch: list[_Row], kind: Any, message: str) -> None:
    for row in batch:
        if not row.future.done():
            # The same batch would fail again.
            row.future.set_exception(NoAnswerError(kind, message, permanent=True))
