"""Effective advantages of actions and the gradient of one step, written down a second time in plain Python.

The formulas share no code with the trainer: `sum_k w_k * A_k * grad log pi(a_k | s_k)` with weights of mean 1 over the actions
that are trained on (arXiv 2509.01684), and advantages from returns or from whole episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, stdev

import torch

Rows = Sequence[Sequence[float | None]]


def episode_advantages(rewards: Sequence[float | None], group: int, scale: str) -> list[float]:
    """Reward minus the mean of its group, by a standard deviation; 0 without a reward."""
    known = [reward for reward in rewards if reward is not None]
    found = []
    for first in range(0, len(rewards), group):
        inside = [reward for reward in rewards[first : first + group] if reward is not None]
        divisor = {"group": stdev(inside) + 1e-4, "batch": stdev(known) + 1e-4, "none": 1.0}[scale]
        found += [0.0 if r is None else (r - fmean(inside)) / divisor for r in rewards[first : first + group]]
    return found


def return_advantages(
    rewards: Sequence[float | None], earned: Rows, group: int, scale: str, discount: float
) -> list[list[float]]:
    """What came after each action, minus the mean over the other episodes of its group that got as far."""
    found, squares, freedom = [], [], []
    in_batch: dict[int, int] = {}
    for first in range(0, len(rewards), group):
        rows = range(first, first + group)
        with_reward = [row for row in rows if rewards[row] is not None]
        n = len(with_reward)
        rest = {row: rewards[row] - sum(earned[row]) for row in with_reward}
        size, turns_seen = 0.0, {}
        for row in rows:
            of_row = []
            for turn in range(len(earned[row])):
                if row not in with_reward:
                    of_row.append(0.0)
                    continue
                after = {r: later(earned[r], turn, discount) for r in with_reward if len(earned[r]) > turn}
                others = [value for other, value in after.items() if other != row]
                baseline = fmean(others) if others else 0.0
                left = discount ** (len(earned[row]) - 1 - turn) * (rest[row] - fmean(rest.values()))
                of_row.append((n - 1) / n * (after[row] - baseline) + left)
                turns_seen[turn] = len(after)
            size += sum(value**2 for value in of_row)
            found.append(of_row)
        squares.append(size)
        freedom.append(sum(max(count - 1, 1) for count in turns_seen.values()))
        for turn, count in turns_seen.items():
            in_batch[turn] = in_batch.get(turn, 0) + count
    of_batch = sum(max(count - 1, 1) for count in in_batch.values())
    known = [reward for reward in rewards if reward is not None]
    for row, of_row in enumerate(found):
        place = row // group
        inside = [r for r in rewards[place * group : (place + 1) * group] if r is not None]
        divisor = {
            "none": 1.0,
            "group": max(stdev(inside), (squares[place] / freedom[place]) ** 0.5) + 1e-4,
            "batch": max(stdev(known), (sum(squares) / of_batch) ** 0.5) + 1e-4,
        }[scale]
        found[row] = [value / divisor for value in of_row]
    return found


def later(earned: Sequence[float], turn: int, discount: float) -> float:
    return sum(value * discount**distance for distance, value in enumerate(earned[turn:]))


def action_weights(seconds: Rows, trained: Sequence[bool], settings: dict) -> list[list[float]]:
    """Weight of every action, with mean 1 over the actions of the rows that are trained on; 1 for the others."""
    rule = settings.get("duration_weighting", "proportional")
    floor, exponent = settings.get("duration_floor_s", 0.01), settings.get("duration_exponent", 1.0)
    values: list[list[float]] = []
    for row in seconds:
        ran = [value for value in row if value is not None]
        # A rollout is lost as a whole: what is left of a window of 20 s is what counts.
        included = max(1.0 - sum(ran) / 20.0, 0.02) if ran else 1.0
        of_row = {
            "none": [1.0] * len(row),
            "proportional": [max(floor if value is None else value, floor) for value in row],
            "inverse_inclusion": [1.0 / included] * len(row),
        }[rule]
        values.append([value**exponent for value in of_row])
    counted = [value for row, is_trained in zip(values, trained, strict=True) if is_trained for value in row]
    scale = clipped_scale(counted, settings.get("duration_clip"))
    clip = settings.get("duration_clip") or float("inf")
    return [
        [min(value * scale, clip) if is_trained else 1.0 for value in row]
        for row, is_trained in zip(values, trained, strict=True)
    ]


def clipped_scale(values: Sequence[float], clip: float | None) -> float:
    """The factor with which the mean of the values, each at most `clip`, is 1; by bisection."""
    if clip is None:
        return 1.0 / fmean(values)
    low, high = 0.0, clip / min(values)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if fmean(min(value * middle, clip) for value in values) < 1 else (low, middle)
    return low


def actions_of(mask: Sequence[int]) -> list[range]:
    """Places of the tokens of each action: the stretches of ones of the policy's own tokens."""
    found, place = [], 0
    for is_policy, stretch in groupby(mask):
        length = len(list(stretch))
        if is_policy:
            found.append(range(place, place + length))
        place += length
    return found


def summed_log_gradient(model, seen: dict, pushes: list[list[float]]) -> dict[str, torch.Tensor]:
    """`sum_k push_k * grad log pi(a_k | s_k)` over the actions, each by a forward pass over its own state and action alone."""
    model.zero_grad()
    for index, of_row in enumerate(pushes):
        prompt = seen["prompt_ids"][index][seen["prompt_mask"][index].bool()]
        length = int(seen["completion_mask"][index].sum())
        completion = seen["completion_ids"][index][:length]
        own = (seen["completion_mask"][index] * seen["tool_mask"][index])[:length].tolist()
        for places, push in zip(actions_of(own), of_row, strict=False):
            ids = torch.cat([prompt, completion[: places.stop]]).unsqueeze(0)
            logits = model(input_ids=ids).logits[0, :-1]
            chosen = torch.log_softmax(logits, dim=-1).gather(1, ids[0, 1:, None]).squeeze(1)
            (push * chosen[-len(places) :].sum()).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
