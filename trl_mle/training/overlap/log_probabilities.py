"""Log-probabilities of completions under the present policy, kept per completion until it is trained on."""

from __future__ import annotations

from typing import Any

import torch
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad


def completion_logps(trainer: Any, prompt_ids: list[list[int]], completion_ids: list[list[int]]) -> list[list[float]]:
    """Log-probability of every completion token under the present policy of `trainer`; a list per completion."""
    device, pad_id = trainer.accelerator.device, trainer._tokenizer.pad_token_id
    sides = []
    # Padded as TRL pads, on the outer sides, so that completions begin at the same place in all rows.
    for ids, side in ((prompt_ids, "left"), (completion_ids, "right")):
        tokens = [torch.tensor(item) for item in ids]
        mask = [torch.ones_like(item) for item in tokens]
        sides.append((pad(tokens, padding_value=pad_id, padding_side=side), pad(mask, padding_side=side)))
    input_ids, attention_mask = (torch.cat(parts, dim=1).to(device) for parts in zip(*sides, strict=True))
    with torch.no_grad(), disable_gradient_checkpointing(trainer.model, trainer.args.gradient_checkpointing_kwargs):
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            input_ids,
            attention_mask,
            sides[1][0].size(1),
            batch_size=trainer.args.per_device_train_batch_size,
        )
    return [row[: len(ids)] for row, ids in zip(logps.tolist(), completion_ids, strict=True)]


def padded(logps: list[list[float]], length: int) -> torch.Tensor:
    """Log-probabilities as a tensor of shape `(b, length)`, 0 where there is no token."""
    tensor = torch.zeros(len(logps), length)
    for row, values in zip(tensor, logps, strict=True):
        row[: len(values)] = torch.tensor(values)
    return tensor
