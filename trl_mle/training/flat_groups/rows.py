"""Rows of TRL's dictionary of tensors, taken out without their padding and put back into another batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from trl_mle.errors import ConfigError

PROMPT = {"prompt_ids": 0, "prompt_mask": 0}
"""Tensors of shape `(b, P)`, padded on the left, and what they are padded with."""
COMPLETION = {
    "completion_ids": 0,
    "completion_mask": 0,
    "tool_mask": 1,
    "old_per_token_logps": 0.0,
    "sampling_per_token_logps": 0.0,
    # The KL term has exp(reference - policy), which must not overflow where a token is only padding.
    "ref_per_token_logps": -1e4,
    "importance_sampling_ratio": 1.0,
    "advantages": 0.0,
}
"""Tensors of shape `(b, T)`, padded on the right, and what they are padded with. The last two may have no column of `T`."""
OTHERS = {"num_items_in_batch"}

Row = dict[str, torch.Tensor]
"""One completion: name -> tensor of shape `(length,)`, or a single number, on the CPU."""


def check_known(output: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if a batch has tensors that rows cannot be exchanged with."""
    unknown = sorted(output.keys() - PROMPT.keys() - COMPLETION.keys() - OTHERS)
    if unknown:
        raise ConfigError(
            f"`replace_flat_groups` does not work with batches that have {', '.join(unknown)}, such as those with images. Set "
            "`replace_flat_groups: false`."
        )


def take_rows(output: Mapping[str, torch.Tensor], places: Sequence[int]) -> list[Row]:
    """Copies of the rows at `places` of this process's batch, without padding."""
    rows = []
    for place in places:
        prompt = int(output["prompt_mask"][place].sum())
        length = int(output["completion_mask"][place].sum())
        row = {name: output[name][place, output[name].size(1) - prompt :] for name in PROMPT}
        for name in COMPLETION.keys() & output.keys():
            values = output[name][place]
            row[name] = values if values.dim() == 0 or _is_single(name, values) else values[:length]
        rows.append({name: _stored(name, values) for name, values in row.items()})
    return rows


def _is_single(name: str, values: torch.Tensor) -> bool:
    """Whether a row has one number for the whole completion, as sequence-level ratios have."""
    return name == "importance_sampling_ratio" and values.shape[-1:] == (1,)


def _stored(name: str, values: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU. Ids and masks need no 8 bytes."""
    dtype = torch.int32 if name.endswith("_ids") else torch.int8 if name.endswith("_mask") else values.dtype
    return values.detach().to("cpu", dtype, copy=True)


def put_rows(
    output: Mapping[str, torch.Tensor],
    rows: Mapping[int, Row],
    pad_token_id: int,
    pad_to_multiple_of: int | None = None,
) -> dict[str, torch.Tensor]:
    """This process's batch with `rows` at their places; other rows are as before, padded to the new length.

    Args:
        output (mapping from name to `torch.Tensor`):
            TRL's batch. It is not changed.
        rows (mapping from place to row):
            What [`take_rows`] has returned for a batch with the same tensors.
    """
    if not rows:
        return dict(output)
    prompt_width = _width(output["prompt_ids"], rows, "prompt_ids", pad_to_multiple_of)
    width = _width(output["completion_ids"], rows, "completion_ids", pad_to_multiple_of)
    new = dict(output)
    if any("tool_mask" in row for row in rows.values()):
        # Without the mask all tokens are the policy's own.
        new.setdefault("tool_mask", torch.ones_like(output["completion_mask"]))
    for name, fill in {**PROMPT, **COMPLETION}.items():
        if name not in new:
            continue
        fill = pad_token_id if name.endswith("_ids") else fill
        tensor = new[name]
        values = {place: row.get(name, torch.tensor(fill)) for place, row in rows.items()}
        if name == "advantages" and tensor.dim() == 1 and any(value.dim() for value in values.values()):
            # One number per completion is the same for each of its tokens.
            tensor = tensor.unsqueeze(1).expand(-1, output["completion_ids"].size(1))
        if tensor.dim() == 1 or all(_is_single(name, each) for each in (tensor, *values.values())):
            new[name] = _with_single(tensor, values)
        elif name in PROMPT:
            new[name] = _with_rows(tensor, values, fill, prompt_width, left=True)
        else:
            lengths = {place: len(row["completion_ids"]) for place, row in rows.items()}
            values = {place: value.expand(lengths[place]) for place, value in values.items()}
            new[name] = _with_rows(tensor, values, fill, width)
    return new


def _width(tensor: torch.Tensor, rows: Mapping[int, Row], name: str, multiple: int | None) -> int:
    longest = max(len(row[name]) for row in rows.values())
    return max(tensor.size(1), math.ceil(longest / multiple) * multiple if multiple else longest)


def _with_single(tensor: torch.Tensor, values: Mapping[int, torch.Tensor]) -> torch.Tensor:
    new = tensor.clone()
    for place, value in values.items():
        new[place] = value.to(new)
    return new


def _with_rows(
    tensor: torch.Tensor, values: Mapping[int, torch.Tensor], fill: float, width: int, left: bool = False
) -> torch.Tensor:
    new = tensor.new_full((len(tensor), width), fill)
    own = slice(width - tensor.size(1), width) if left else slice(0, tensor.size(1))
    new[:, own] = tensor
    for place, value in values.items():
        new[place] = fill
        new[place, width - len(value) if left else 0 : width if left else len(value)] = value.to(new)
    return new
