"""Rows go from one batch into another without a change, whatever the two lengths are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.errors import ConfigError
from trl_mle.training.flat_groups.rows import check_known, put_rows, take_rows

PAD = 7
LENGTHS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), min_size=1, max_size=4)
RATIOS = st.sampled_from([None, "token", "sequence"])


def batch(lengths, seed, *, per_token=False, tools=False, ratio=None, multiple=1):
    """A batch as TRL makes it; numbers at padding are such as a forward leaves there."""
    torch.manual_seed(seed)
    rows = len(lengths)
    prompts, longest = (-(-max(max(lens), 1) // multiple) * multiple for lens in zip(*lengths, strict=True))
    prompt_mask = torch.stack([torch.arange(prompts) >= prompts - p for p, _ in lengths]).long()
    mask = torch.stack([torch.arange(longest) < c for _, c in lengths]).long()
    output = {
        "prompt_ids": torch.randint(10, 99, (rows, prompts)).where(prompt_mask.bool(), PAD),
        "prompt_mask": prompt_mask,
        "completion_ids": torch.randint(10, 99, (rows, longest)).where(mask.bool(), PAD),
        "completion_mask": mask,
        "advantages": torch.randn(rows, longest) if per_token else torch.randn(rows),
        "old_per_token_logps": -torch.rand(rows, longest),
        "ref_per_token_logps": -torch.rand(rows, longest),
        "num_items_in_batch": mask.sum(),
    }
    if tools:
        output["tool_mask"] = torch.randint(0, 2, (rows, longest))
    if ratio:
        output["importance_sampling_ratio"] = torch.rand(rows, longest if ratio == "token" else 1)
    return output


def content(output, row):
    """All that a loss sees of a row: values at its tokens."""
    prompt, mask = output["prompt_mask"][row].bool(), output["completion_mask"][row].bool()
    seen = {"prompt_ids": output["prompt_ids"][row][prompt].tolist()}
    tools = output.get("tool_mask", torch.ones_like(output["completion_mask"]))
    for name, tensor in {**output, "tool_mask": tools}.items():
        if name in ("prompt_ids", "prompt_mask", "num_items_in_batch"):
            continue
        # One number per completion stands for each of its tokens.
        values = tensor[row].expand(len(mask)) if tensor.dim() == 1 or tensor.size(1) == 1 else tensor[row]
        seen[name] = values[mask].tolist()
    return seen


@settings(max_examples=60, deadline=None)
@given(
    old=LENGTHS,
    new=LENGTHS,
    per_token=st.tuples(st.booleans(), st.booleans()),
    tools=st.tuples(st.booleans(), st.booleans()),
    ratio=RATIOS,
    multiple=st.sampled_from([1, 4]),
    data=st.data(),
)
def test_rows_are_the_same_in_another_batch(old, new, per_token, tools, ratio, multiple, data):
    source = batch(old, 1, per_token=per_token[0], tools=tools[0], ratio=ratio, multiple=multiple)
    target = batch(new, 2, per_token=per_token[1], tools=tools[1], ratio=ratio, multiple=multiple)
    before = {name: tensor.clone() for name, tensor in target.items()}
    places = data.draw(st.dictionaries(st.integers(0, len(new) - 1), st.integers(0, len(old) - 1)))
    rows = dict(zip(places, take_rows(source, list(places.values())), strict=True))
    mixed = put_rows(target, rows, PAD, multiple)
    for row in range(len(new)):
        expected = content(source, places[row]) if row in places else content(target, row)
        assert content(mixed, row) == expected
    for name in ("prompt_ids", "completion_ids"):
        assert mixed[name].size(1) % multiple == 0
        assert (mixed[name][mixed[name.replace("ids", "mask")] == 0] == PAD).all()
    assert all(torch.equal(target[name], before[name]) for name in target), "the batch itself is not changed"


def test_padding_of_the_reference_never_overflows():
    source, target = batch([(1, 1)], 1), batch([(1, 6)], 2)
    mixed = put_rows(target, dict(enumerate(take_rows(source, [0]))), PAD)
    # One token, and five places of padding at which the policy finds the padding token most unlikely.
    policy = torch.tensor([[-1.0] + [-200.0] * 5], requires_grad=True)
    difference = mixed["ref_per_token_logps"] - policy
    loss = ((torch.exp(difference) - difference - 1) * mixed["completion_mask"]).sum()
    loss.backward()
    assert loss.isfinite() and policy.grad.isfinite().all()


def test_a_kept_row_is_a_copy():
    source = batch([(2, 3)], 1)
    (row,) = take_rows(source, [0])
    before = row["completion_ids"].tolist()
    source["completion_ids"].zero_()
    assert row["completion_ids"].tolist() == before


def test_images_are_refused():
    with pytest.raises(ConfigError, match="pixel_values"):
        check_known({**batch([(1, 1)], 1), "pixel_values": torch.zeros(1)})
