"""Reading a prompt once for all completions of a micro-batch that answer it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedType
from transformers.cache_utils import DynamicCache, DynamicLayer

from trl_mle.errors import ConfigError

if TYPE_CHECKING:
    from trl import GRPOTrainer

logger = logging.getLogger(__name__)

Forward = Callable[..., tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]]
"""TRL's `_get_per_token_logps_and_entropies`."""

TOLERANCE = 0.1
"""Largest mean difference of log-probabilities in the first micro-batch, in nats: above the rounding of bfloat16."""
ROW_OPTIONS = frozenset({"batch_size", "compute_entropy"})
"""Options of a forward pass that have a meaning for each row by itself. Pictures have none: TRL counts them by rows."""


class SharedPrompts:
    """Log-probabilities of completions with one pass over each distinct prompt, instead of one for each completion.

    Completions attend to the keys and values of their prompt, and gradients flow back through them. So both are those of separate
    passes, up to rounding (shared-prefix attention, as in Prefix Grouper, arXiv 2506.05433). `b` completions of `T` tokens to one
    prompt of `P` tokens need a pass over `P + b T` tokens in place of `b (P + T)`.

    The first micro-batch is computed in both ways. If they differ, a warning says so, and prompts are not shared.

    Args:
        trainer (`trl.GRPOTrainer`):
            Whose model it is.

    Raises:
        ConfigError: the trainer shards its model, or drops keys and values to save memory.
    """

    def __init__(self, trainer: GRPOTrainer):
        kind = trainer.accelerator.distributed_type
        if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
            raise ConfigError(f"`share_prompts` does not work with {kind.value}. Set `share_prompts: false`.")
        if trainer.args.gradient_checkpointing:
            raise ConfigError(
                "`share_prompts` needs the keys and values of the prompt, which `gradient_checkpointing` drops. Set one of them "
                "to false."
            )
        self._trainer = trainer
        self._accelerator = trainer.accelerator
        self._usable: bool | None = None
        """Whether both ways agree, once that is known."""

    def wrap(self, forward: Forward) -> Forward:
        """`forward` with shared prompts: same arguments, same results up to rounding."""

        def shared(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
            batch = (model, input_ids, attention_mask, logits_to_keep)
            by_row = all(name in ROW_OPTIONS or value is None or value is False for name, value in kwargs.items())
            if self._usable is False or args or not by_row:
                return forward(*batch, *args, **kwargs)
            prompts = distinct_prompts(input_ids[:, :-logits_to_keep], attention_mask[:, :-logits_to_keep])
            if prompts is None:
                return forward(*batch, **kwargs)
            if self._usable is None:
                self._usable = self._agree(forward, batch, prompts)
            found = self._forward(forward, batch, prompts, kwargs) if self._usable else None
            return forward(*batch, **kwargs) if found is None else found

        return shared

    @contextmanager
    def in_generation(self) -> Iterator[None]:
        """Within it, the model's `generate` reads each distinct prompt once."""
        model = self._accelerator.unwrap_model(self._trainer.model_wrapped)
        generate = model.generate

        def shared(*args, input_ids=None, attention_mask=None, **kwargs):
            # Settings with a cache of their own kind have no use for this one.
            own_cache = getattr(kwargs.get("generation_config"), "cache_implementation", None) is not None
            if self._usable is not False and not args and set(kwargs) == {"generation_config"} and not own_cache:
                prompts = distinct_prompts(input_ids, attention_mask)
                if prompts is not None and (state := self._read(model, prompts)) is not None:
                    kwargs[argument_of(model)] = state.repeat(prompts.row_of)
            return generate(*args, input_ids=input_ids, attention_mask=attention_mask, **kwargs)

        model.generate = shared
        try:
            yield
        finally:
            del model.generate

    def _forward(self, forward: Forward, batch: tuple[Any, ...], prompts: Prompts, kwargs: dict[str, Any]) -> Any:
        """Results of `forward`, or `None` if the state of a prompt cannot be repeated."""
        model, input_ids, attention_mask, kept = batch
        # Not by a wrapper for several processes: those synchronise with each call, and not all processes have as many.
        unwrapped = self._accelerator.unwrap_model(model)
        state = self._read(unwrapped, prompts)
        if state is None:
            return None
        # The last token of a prompt predicts the first of each completion.
        end = input_ids.size(1) - kept - 1
        continued = _Continued(model, argument_of(unwrapped), state, prompts.row_of, attention_mask[:, :end])
        return forward(continued, input_ids[:, end:], attention_mask[:, end:], kept, **kwargs)

    def _read(self, model: Any, prompts: Prompts) -> PromptState | None:
        """State after all tokens of the prompts but the last, or `None` if the model keeps more than keys and values."""
        ids, mask = prompts.ids[:, :-1], prompts.mask[:, :-1]
        with self._accelerator.autocast():
            output = model(input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=1)
        cache = output[argument_of(model)]
        layers: Sequence[Any] = cache.layers if isinstance(cache, DynamicCache) else ()
        if not layers or any(type(layer) is not DynamicLayer for layer in layers):
            return None
        return PromptState([(layer.keys, layer.values) for layer in layers])

    def _agree(self, forward: Forward, batch: tuple[Any, ...], prompts: Prompts) -> bool:
        """Whether both ways have the same log-probabilities, up to rounding."""
        _, _, attention_mask, kept = batch
        # Unwrapped: not all processes come here at the same micro-batch.
        batch = (self._accelerator.unwrap_model(batch[0]), *batch[1:])
        devices = [attention_mask.device] if attention_mask.device.type == "cuda" else []
        # Dropout must not change the random numbers that training draws.
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            ours = self._forward(forward, batch, prompts, {})
            theirs = forward(*batch)
        if ours is None:
            logger.warning("`share_prompts` has no effect: this model keeps more than keys and values of a prompt.")
            return False
        difference = (ours[0] - theirs[0])[attention_mask[:, -kept:].bool()].abs().float().mean().item()
        if not difference <= TOLERANCE:
            logger.warning(
                "`share_prompts` has no effect: log-probabilities with a shared prompt differ by %.3g nats on average.",
                difference,
            )
            return False
        return True


@dataclass(frozen=True)
class Prompts:
    """The distinct prompts of a batch."""

    ids: torch.Tensor
    """Tokens, padded at the left, shape `(prompts, P)`."""
    mask: torch.Tensor
    """1 where there is a token, of the same shape."""
    row_of: torch.Tensor
    """The prompt of each row of the batch, shape `(b,)`."""


def distinct_prompts(ids: torch.Tensor, mask: torch.Tensor) -> Prompts | None:
    """The distinct rows of `ids` with their `mask`, both of shape `(b, P)`. `None` if there is nothing to share."""
    if ids.size(1) < 2 or len(ids) < 2:
        return None
    rows, row_of = torch.unique(torch.cat([ids, mask.to(ids.dtype)], dim=1), dim=0, return_inverse=True)
    if len(rows) == len(ids):
        return None
    return Prompts(rows[:, : ids.size(1)], rows[:, ids.size(1) :].to(mask.dtype), row_of)


@dataclass(frozen=True)
class PromptState:
    """Keys and values of each layer, each of shape `(prompts, heads, P - 1, size)`."""

    layers: list[tuple[torch.Tensor, torch.Tensor]]

    def repeat(self, row_of: torch.Tensor) -> DynamicCache:
        """A cache with the state of the prompt of each row; gradients flow through it."""
        cache = DynamicCache()
        for place, (keys, values) in enumerate(self.layers):
            if len(keys) == 1:
                rows = (len(row_of), -1, -1, -1)
                cache.update(keys.expand(rows), values.expand(rows), place)
            else:
                cache.update(keys[row_of], values[row_of], place)
        return cache


def argument_of(model: Any) -> str:
    """Name of the argument and of the output for keys and values: `past_key_values` up to transformers 5.23."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "cache" if "cache" in inspect.signature(base.forward).parameters else "past_key_values"


class _Continued:
    """A model that goes on from the states of the rows' prompts. TRL calls it with one chunk of rows after the other."""

    def __init__(self, model: Any, argument: str, state: PromptState, row_of: torch.Tensor, mask: torch.Tensor):
        self._model, self._argument, self._state, self._row_of, self._mask = model, argument, state, row_of, mask
        self._next = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, **kwargs: Any) -> Any:
        rows = slice(self._next, self._next + len(input_ids))
        self._next = rows.stop
        mask = torch.cat([self._mask[rows], attention_mask], dim=1)
        state = self._state.repeat(self._row_of[rows])
        return self._model(input_ids=input_ids, attention_mask=mask, **{**kwargs, self._argument: state})
