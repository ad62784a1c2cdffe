"""Advantages of tokens and the trained gradient, against formulas written down a second time, through TRL's own tool loop."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.support.launching import launch_well
from tests.support.loss_cases import LEARNING_RATE
from tests.support.loss_reference import model_with
from tests.support.turn_reference import (
    action_weights,
    actions_of,
    episode_advantages,
    return_advantages,
    summed_log_gradient,
)
from tests.support.turn_runs import CALLS, CASES, CUT, EARNED, FAULT, FULL, LENGTH, NO_ROOM, SECONDS, run, total


def expected(name: str, group: int) -> tuple[list[list[float]], list[list[float]]]:
    """Advantage, and advantage times weight, of every action of the eight rows."""
    settings = CASES[name]
    rewards = [total(row) for row in range(8)]
    scale = settings.get("scale_rewards", "group")
    if settings["turn_credit"] == "episode":
        plain = [[a] * len(EARNED[row]) for row, a in enumerate(episode_advantages(rewards, group, scale))]
    else:
        plain = return_advantages(rewards, EARNED, group, scale, settings.get("turn_discount", 1.0))
    masked = {CUT, FULL} if settings.get("mask_truncated_completions") else set()
    weights = action_weights(SECONDS, [row != FAULT and row not in masked for row in range(8)], settings)
    pushes = [[a * w for a, w in zip(row, own, strict=True)] for row, own in zip(plain, weights, strict=True)]
    return plain, pushes


def check_tokens(name: str, records: list[dict]) -> None:
    """Each token of an action carries its action's advantage times weight."""
    plain, pushes = expected(name, records[0]["group"])
    checked = 0
    for record in records:
        seen = record["seen"]
        for index, row in enumerate(seen["row"].tolist()):
            mask = (seen["completion_mask"][index] * seen["tool_mask"][index]).tolist()
            masked = CASES[name].get("mask_truncated_completions") and row in (CUT, FULL)
            stretches = actions_of(mask)
            assert len(stretches) == (0 if masked else len(EARNED[row])), row
            for places, push in zip(stretches, pushes[row], strict=False):
                values = seen["advantages"][index]
                # "none" with whole episodes leaves TRL's shape alone.
                found = values[list(places)] if values.dim() else values.expand(len(places))
                assert torch.allclose(found.double(), torch.tensor(push).double(), atol=1e-6, rtol=1e-6), (row, places)
                checked += 1
    assert checked >= 12 and any(abs(value) > 0.1 for row in plain for value in row)


def check_gradient(name: str, records: list[dict]) -> None:
    """The parameters after the step: those before it, plus the sum over actions of weight x advantage x grad log pi."""
    _, pushes = expected(name, records[0]["group"])
    before, after = records[0]["states"][0], records[0]["states"][-1]
    model = model_with(before, lora=False)
    gradients: dict[str, torch.Tensor] = {}
    for record in records:
        of_rows = [pushes[row] for row in record["seen"]["row"].tolist()]
        for key, gradient in summed_log_gradient(model, record["seen"], of_rows).items():
            gradients[key] = gradients.get(key, 0) + gradient
    # The loss dr_grpo divides by the number of rows and the longest possible completion, dapo by the tokens of the policy.
    own_tokens = sum(int((r["seen"]["completion_mask"] * r["seen"]["tool_mask"]).sum()) for r in records)
    divisor = own_tokens if CASES[name].get("loss_type") == "dapo" else 8 * LENGTH
    moved = 0.0
    for key, gradient in gradients.items():
        step = LEARNING_RATE * gradient / divisor
        assert torch.allclose(after[key] - before[key], step, atol=1e-6), key
        moved = max(moved, step.abs().max().item())
    assert moved > 1e-4, "nothing was learned, so nothing was checked"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    found = {}

    def of(name):
        if name not in found:
            folder = tmp_path_factory.mktemp("runs")
            found[name] = folder, run(name, folder)
        return found[name]

    return of


@pytest.mark.parametrize("name", CASES)
def test_every_token_and_the_gradient(records, name):
    _, record = records(name)
    check_tokens(name, [record])
    check_gradient(name, [record])


def test_the_rollouts_are_those_that_were_meant(records):
    """Otherwise the case of a cut or of a missing answer would not be tested."""
    _, record = records("proportional")
    completions = record["completions"]
    assert [sum(m["role"] == "assistant" for m in messages) for messages in completions] == list(map(len, EARNED))
    assert "tool_calls" in completions[NO_ROOM][-1] and CALLS[NO_ROOM] == 1
    assert record["seen"]["completion_mask"][CUT].sum() == LENGTH
    assert "," in completions[CUT][-1]["content"]
    assert completions[FULL][-1]["role"] == "tool" and record["seen"]["completion_mask"][FULL].sum() == LENGTH


def test_rollouts_keep_what_each_action_was_pushed_by(records):
    folder, _ = records("proportional")
    (path,) = (folder / "proportional" / "rollouts").glob("train_*.parquet")
    table = pd.read_parquet(path)
    plain, pushes = expected("proportional", 4)
    for row in range(8):
        assert list(table["per_action_advantages"][row]) == pytest.approx(plain[row], abs=1e-6)
        products = table["per_action_advantages"][row] * table["per_action_weights"][row]
        assert list(products) == pytest.approx(pushes[row], abs=1e-6)
        assert len(table["per_action_durations"][row]) == len(SECONDS[row])


def test_metrics_of_turns(records):
    _, record = records("proportional")
    log = record["log"][0]
    assert log["turns/mean"] == pytest.approx(sum(map(len, EARNED)) / 8)
    assert log["turns/max"] == 4
    # One ends with its call, whose answer had no room, one with an answer, and one in its text.
    assert log["turns/cut_share"] == pytest.approx(3 / 8)
    _, pushes = expected("proportional", 4)
    sizes = [sum(abs(row[turn]) for row in pushes if len(row) > turn) for turn in range(4)]
    for turn in range(4):
        assert log[f"turns/advantage_mass_{turn + 1}"] == pytest.approx(sizes[turn] / sum(sizes), abs=1e-6)
    second = [row[1] for row in SECONDS if len(row) > 1 and row[1] is not None]
    assert log["turns/duration_2"] == pytest.approx(sum(second) / len(second))


@pytest.mark.slow
def test_two_processes(tmp_path):
    launch_well("tests.support.turn_runs", tmp_path, *CASES, ACCELERATE_USE_CPU="true")
    for name in CASES:
        both = [torch.load(Path(tmp_path) / f"{name}_{rank}.pt") for rank in range(2)]
        check_tokens(name, both)
        check_gradient(name, both)
