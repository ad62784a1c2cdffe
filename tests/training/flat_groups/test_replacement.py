"""Groups with equal rewards are replaced by recent ones, and every optimizer step is the one computed by hand."""

from __future__ import annotations

import json

import pytest
import torch

from tests.support.flat_groups import is_flat, run
from tests.support.launching import launch_well
from tests.support.loss_cases import LEARNING_RATE
from tests.support.loss_reference import log_probabilities, model_with, policy_loss
from trl_mle import DurationAwareConfig
from trl_mle.errors import ConfigError


def unpadded(batch: dict, row: int) -> tuple[list[int], list[int]]:
    """Prompt and completion of a row."""
    sides = (("prompt_ids", "prompt_mask"), ("completion_ids", "completion_mask"))
    prompt, completion = (batch[ids][row][batch[mask][row].bool()].tolist() for ids, mask in sides)
    return prompt, completion


def expected_sources(records: list[dict], group: int) -> list[list[tuple[int, int]]]:
    """For each generation and group of the global batch: generation and place of the group that is trained on there.

    A second account of the rule: the newest groups with differing rewards, none of them twice.
    """
    local = len(records[0]["final"][0]["prompts"])
    kept, result = [], []  # kept: (generation, place, layout)
    for generation, batches in enumerate(zip(*(record["final"] for record in records), strict=True)):
        prompts = [prompt for batch in batches for prompt in batch["prompts"]]
        places = range(len(prompts) // group)
        layouts = [tuple(row // local for row in range(place * group, (place + 1) * group)) for place in places]
        sources, fresh = [], []
        for place in places:
            source = (generation, place)
            if is_flat(prompts[place * group], batches[0]["step"]):
                found = next((each for each in reversed(kept) if each[2] == layouts[place]), None)
                if found is not None:
                    kept.remove(found)
                    source = found[:2]
            else:
                fresh.append((generation, place, layouts[place]))
            sources.append(source)
        # Of one batch, the last group comes first.
        kept += fresh
        result.append(sources)
    return result


def check(records: list[dict], group: int, loss_type: str = "dapo", iterations: int = 1, beta: float = 0.0) -> int:
    """Check all batches and steps of a run. Returns how many groups were replaced."""
    local = len(records[0]["final"][0]["prompts"])
    sources = expected_sources(records, group)
    replaced = 0
    for generation, of_generation in enumerate(sources):
        tokens = 0
        for process, record in enumerate(records):
            final = record["final"][generation]
            tokens += int(final["completion_mask"].sum())
            for row in range(local):
                place, within = divmod(process * local + row, group)
                origin, origin_place = of_generation[place]
                origin_row = origin_place * group + within - process * local
                assert 0 <= origin_row < local
                replaced += origin != generation
                was = records[process]["fresh"][origin]
                assert unpadded(final, row) == unpadded(was, origin_row)
                assert torch.equal(final["advantages"][row], was["advantages"][origin_row])
                if origin == generation and "old_per_token_logps" not in final:
                    continue
                born = origin * iterations
                with torch.no_grad():
                    old = log_probabilities(model_with(record["states"][born], False), was)[origin_row]
                length = int(was["completion_mask"][origin_row].sum())
                kept = final["old_per_token_logps"][row, :length]
                assert torch.allclose(kept, old[:length], atol=1e-5), "those of the policy that wrote the completion"
        assert all(int(record["final"][generation]["num_items_in_batch"]) == tokens for record in records)
    moved = [_check_step(records, step, loss_type, beta) for step in range(len(records[0]["states"]) - 1)]
    assert max(moved) > 1e-4, "nothing was learned, so nothing was checked"
    return replaced // group


def _check_step(records: list[dict], step: int, loss_type: str, beta: float) -> float:
    """Largest change of a parameter in a step, all of whose changes are the expected ones."""
    state, total = records[0]["states"][step], {}
    for record in records:
        for batch in (batch for batch in record["batches"] if batch["step"] == step):
            model, mask = model_with(state, False), batch["completion_mask"].float()
            logps = log_probabilities(model, batch)
            old = batch.get("old_per_token_logps", logps.detach())
            ratio = torch.exp(logps - old)
            per_token = policy_loss(loss_type, ratio, logps, old, mask, batch["advantages"].unsqueeze(1), {})
            if beta:
                with torch.no_grad():
                    reference = log_probabilities(model_with(records[0]["states"][0], False), batch)
                per_token = per_token + beta * ratio * (torch.exp(reference - logps) - (reference - logps) - 1)
            if loss_type == "dapo":
                loss = (per_token * mask).sum() / (batch["num_items_in_batch"] / len(records))
            else:
                loss = ((per_token * mask).sum(1) / mask.sum(1)).mean()
            loss.backward()
            for name, parameter in model.named_parameters():
                total[name] = total.get(name, 0) + parameter.grad / len(records)
    moved = 0.0
    for name, gradient in total.items():
        after = records[0]["states"][step + 1][name]
        assert (after - (state[name] - LEARNING_RATE * gradient)).abs().max() < 1e-6, (step, name)
        moved = max(moved, (after - state[name]).abs().max().item())
    return moved


@pytest.mark.parametrize(
    ("loss_type", "settings"),
    [
        ("dapo", {}),
        ("grpo", {"beta": 0.3}),
        ("dapo", {"num_iterations": 2, "steps": 8}),
        ("grpo", {"pad_to_multiple_of": 8}),
    ],
    ids=str,
)
def test_every_step_is_the_one_computed_by_hand(tmp_path, loss_type, settings):
    record = run(tmp_path, loss_type=loss_type, **settings)
    iterations, beta = settings.get("num_iterations", 1), settings.get("beta", 0.0)
    assert check([record], 4, loss_type, iterations, beta) >= 2
    shares = [entry["groups/replaced_share"] for entry in record["log"] if "groups/replaced_share" in entry]
    assert shares[0] == 0 and max(shares) > 0


@pytest.mark.slow
def test_a_group_on_two_processes_is_replaced_on_both(tmp_path):
    settings = {"per_device_train_batch_size": 6, "steps": 5, "loss_type": "dapo"}
    launch_well("tests.support.flat_groups", str(tmp_path), json.dumps(settings), ACCELERATE_USE_CPU="true")
    assert check([torch.load(tmp_path / f"{rank}.pt") for rank in range(2)], 4) >= 2


def test_a_resumed_run_replaces_as_the_uninterrupted_one(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2, "steps": 4}
    whole = run(tmp_path / "whole", **saving)
    run(tmp_path / "cut", **{**saving, "steps": 2})
    rest = run(tmp_path / "cut", resume=str(tmp_path / "cut" / "checkpoint-2"), **saving)
    assert len(rest["final"]) == 2
    for mine, other in zip(rest["final"], whole["final"][2:], strict=True):
        assert torch.equal(mine["completion_ids"], other["completion_ids"])
        assert torch.equal(mine["advantages"], other["advantages"])
        assert torch.allclose(mine["old_per_token_logps"], other["old_per_token_logps"])


def test_truncated_and_overlapped_completions_train_to_the_end(tmp_path):
    settings = {"mask_truncated_completions": True, "overlap_execution": True, "overlap_batches": 1}
    record = run(tmp_path, steps=5, **settings)
    assert all(torch.isfinite(value).all() for value in record["states"][-1].values())
    assert max(entry.get("groups/replaced_share", 0) for entry in record["log"]) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flat_group_max_uses": 0}, "`flat_group_max_uses` is 0"),
        ({"flat_group_max_age": 1, "num_iterations": 2}, "Set `flat_group_max_age` to 2"),
    ],
)
def test_settings_that_replace_nothing_are_errors(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        DurationAwareConfig(str(tmp_path), use_cpu=True, bf16=False, replace_flat_groups=True, **settings)


def test_a_reference_model_that_changes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="sync_ref_model"):
        run(tmp_path, beta=0.1, sync_ref_model=True)
