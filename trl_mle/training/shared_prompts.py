"""Reading a prompt once for all completions of a micro-batch that answer it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from accelerate.utils import DistributedType
from transformers.cache_utils import DynamicCache, DynamicLayer

from trl_mle.errors import ConfigError

if TYPE_CHECKING:
    from trl import GRPOTrainer

logger = logging.getLogger(__name__)

Results = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
Forward = Callable[..., Results]
"""TRL's `_get_per_token_logps_and_entropies`."""

TOLERANCE = {torch.float32: 1e-3}
"""Data type of keys and values -> largest mean difference of log-probabilities between both ways, in nats."""
ROUGH_TOLERANCE = 0.05
"""The same for data types with fewer digits."""
ROW_OPTIONS = frozenset({"batch_size", "compute_entropy"})
"""Options of a forward pass that have a meaning for each row by itself. Pictures have none: TRL counts them by rows."""
ROPE_BY_LENGTH = frozenset({"longrope", "dynamic"})
"""Rotary embeddings whose factors depend on the length of what is read."""


class SharedPrompts:
    """Log-probabilities of completions with one pass over each distinct prompt, instead of one for each completion.

    Completions attend to the keys and values of their prompt, and gradients flow back through them (shared-prefix attention, as in
    Prefix Grouper, arXiv 2506.05433). Log-probabilities and gradients are those of separate passes, up to rounding. With dropout,
    the completions of a prompt share its mask. `b` completions of `T` tokens to one prompt of `P` tokens need a pass over
    `P + b T` tokens in place of `b (P + T)`.

    The first micro-batch of each model is computed in both ways. If they differ, a warning says so, and the model reads each row
    by itself.

    Args:
        trainer (`trl.GRPOTrainer`):
            The trainer that computes log-probabilities.

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
        self._accelerator = trainer.accelerator
        self._works: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()
        """Model -> whether its prompts can be shared, for those that are known."""

    def wrap(self, forward: Forward) -> Forward:
        """`forward` with shared prompts: same arguments, same results up to rounding."""

        def shared(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs):
            by_row = all(name in ROW_OPTIONS or value is None or value is False for name, value in kwargs.items())
            if args or not by_row or self._works.get(self._unwrapped(model)) is False:
                return forward(model, input_ids, attention_mask, logits_to_keep, *args, **kwargs)
            options = {name: value for name, value in kwargs.items() if name in ROW_OPTIONS}
            size = options.pop("batch_size", None) or len(input_ids)
            chunks = zip(input_ids.split(size), attention_mask.split(size), strict=True)
            parts = [self._chunk(forward, (model, ids, mask, logits_to_keep), options) for ids, mask in chunks]
            logps, entropies, _ = zip(*parts, strict=True)
            return torch.cat(logps), None if entropies[0] is None else torch.cat(entropies), None

        return shared

    def _chunk(self, forward: Forward, batch: tuple[Any, ...], options: dict[str, Any]) -> Results:
        """Results of one chunk of rows, each prompt read once if that can be done."""
        model, input_ids, attention_mask, kept = batch
        prompts = distinct_prompts(input_ids[:, :-kept], attention_mask[:, :-kept])
        if prompts is None:
            return forward(*batch, **options)
        known = self._unwrapped(model)
        # Completions that are masked as a whole, as truncated ones may be, show no difference.
        if known not in self._works and attention_mask[:, -kept:].any():
            self._works[known] = self._agree(forward, batch, prompts)
        state = self._read(known, prompts) if self._works.get(known) else None
        return (
            forward(*batch, **options) if state is None else _continue(forward, batch, known, prompts, state, options)
        )

    def _unwrapped(self, model: Any) -> Any:
        return self._accelerator.unwrap_model(model, keep_torch_compile=False)

    def _read(self, model: Any, prompts: Prompts) -> PromptState | None:
        """State after all tokens of the prompts but the last, or `None` if the model keeps more than keys and values.

        Not by a wrapper for several processes: those synchronise with each call, and not all processes have as many.
        """
        ids, mask = prompts.ids[:, :-1], prompts.mask[:, :-1]
        with self._accelerator.autocast():
            output = model(input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=1)
        cache = output.get(argument_of(model))
        layers: Sequence[Any] = cache.layers if type(cache) is DynamicCache else ()
        if not layers or any(type(layer) is not DynamicLayer or not layer.is_initialized for layer in layers):
            return None
        return PromptState([(layer.keys, layer.values) for layer in layers])

    def _agree(self, forward: Forward, batch: tuple[Any, ...], prompts: Prompts) -> bool:
        """Whether both ways have the same log-probabilities, up to rounding. Logs why not."""
        # Unwrapped: not all processes come here at the same micro-batch.
        model = self._unwrapped(batch[0])
        reason = obstacle(model)
        if reason is None:
            batch = (model, *batch[1:])
            with torch.no_grad(), _without_dropout(model):
                state = self._read(model, prompts)
                reason = "it keeps more than keys and values of a prompt" if state is None else None
                if state is not None:
                    ours, theirs = _continue(forward, batch, model, prompts, state, {})[0], forward(*batch)[0]
                    difference = (ours - theirs)[batch[2][:, -batch[3] :].bool()].abs().float().mean().item()
                    if not difference <= TOLERANCE.get(state.dtype, ROUGH_TOLERANCE):
                        reason = f"log-probabilities with a shared prompt differ by {difference:.3g} nats on average"
        if reason is not None:
            logger.warning("`share_prompts` has no effect on this model: %s.", reason)
        return reason is None


def _continue(
    forward: Forward,
    batch: tuple[Any, ...],
    unwrapped: Any,
    prompts: Prompts,
    state: PromptState,
    options: dict[str, Any],
) -> Results:
    """Results of the completions of a batch, from the state of their prompts."""
    model, input_ids, attention_mask, kept = batch
    # The last token of a prompt predicts the first of each completion.
    end = input_ids.size(1) - kept - 1
    continued = _Continued(model, argument_of(unwrapped), state, prompts.row_of, attention_mask[:, :end])
    return forward(continued, input_ids[:, end:], attention_mask[:, end:], kept, **options)


def obstacle(model: Any) -> str | None:
    """What is known to keep a model from going on from the state of a prompt, or `None`."""
    config = model.config
    text = config.get_text_config()
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kinds = {str(part.get("rope_type")) for part in (rope, *rope.values()) if isinstance(part, dict)} & ROPE_BY_LENGTH
    if text is not config:
        return "it also reads pictures or sound"
    if getattr(text, "output_router_logits", False):
        return "the balance of its experts is that of all tokens (`output_router_logits`)"
    if kinds:
        return f"its positions depend on the length of what is read (`{min(kinds)}`)"
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return "its adapter writes into the prompt"
    if model.is_gradient_checkpointing:
        return "`gradient_checkpointing` drops the keys and values of the prompt"
    return None


@contextmanager
def _without_dropout(model: torch.nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


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

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the keys and values."""
        return self.layers[0][0].dtype

    def repeat(self, row_of: torch.Tensor) -> DynamicCache:
        """A cache with the state of the prompt of each row; gradients flow through it."""
        cache = DynamicCache()
        for place, (keys, values) in enumerate(self.layers):
            if len(keys) == 1:
                rows = (len(row_of), -1, -1, -1)
                cache.update(keys.expand(rows), values.expand(rows), place)
            else:
                chosen = row_of.to(keys.device)  # a model may lie on several devices
                cache.update(keys[chosen], values[chosen], place)
        return cache


def argument_of(model: Any) -> str:
    """Name of the argument and of the output for keys and values: `past_key_values` up to transformers 5.23."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "cache" if "cache" in inspect.signature(base.forward).parameters else "past_key_values"


class _Continued:
    """A model that goes on from the states of the rows' prompts."""

    def __init__(self, model: Any, argument: str, state: PromptState, row_of: torch.Tensor, mask: torch.Tensor):
        self._model, self._argument, self._state, self._row_of, self._mask = model, argument, state, row_of, mask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, **kwargs: Any) -> Any:
        mask = torch.cat([self._mask, attention_mask], dim=1)
        state = self._state.repeat(self._row_of)
        return self._model(input_ids=input_ids, attention_mask=mask, **{**kwargs, self._argument: state})
