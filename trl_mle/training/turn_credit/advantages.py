"""Advantages of actions from returns: pure functions of rewards, with a baseline that no action of the policy can move.

An episode `i` of a group earns `R_i` in all, and `r_ik` by its action `k`. An action is credited with what comes after it, its
return `G_ik = r_ik + ... + r_iT`. What the rewards of actions leave over, `e_i = R_i - sum_k r_ik`, is earned at the end of the
episode. The advantage is (`docs/agents.md` has the derivation)

    A_ik = (n - 1) / n * (G_ik - mean of G_jk over the other episodes j that reached turn k) + e_i - mean_j e_j

with `n` the number of episodes of the group that have a reward. The baseline of turn `k` is 0 if no other episode reached it. It
depends on other episodes only, so that it is independent of the action given its state, also where the policy chooses the number
of turns. The expected gradient is `(n - 1) / n` times that of `E[R]`, which is what the mean of the whole group, the
episode's own reward included, gives in GRPO.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trl_mle.training.weighting.actions import turn_numbers

EPSILON = 1e-4
"""Added to a standard deviation, as TRL does."""
ROUNDING = 4 * torch.finfo(torch.float32).eps
"""Relative error of rewards, which TRL keeps in single precision, and of a few sums of them."""


@dataclass(frozen=True)
class TurnAdvantages:
    """Advantages of the `A` actions of a global batch of `B` completions."""

    per_action: torch.Tensor
    """Shape `(A,)`, float64; 0 for actions of a completion without a reward."""
    flat: torch.Tensor
    """Shape `(B / group_size,)`: True for a group in which no action did better than another."""


def turn_advantages(
    rewards: torch.Tensor,
    scorable: torch.Tensor,
    turn_rewards: torch.Tensor,
    rows: torch.Tensor,
    group_size: int,
    *,
    scale: str = "group",
    discount: float = 1.0,
) -> TurnAdvantages:
    """The advantage of every action, see the text above.

    If every completion has one action, these are the advantages of `trl.GRPOTrainer`. So are those of first actions, with
    `discount` 1, unless an action of a later turn has raised the divisor.

    Args:
        rewards (`torch.Tensor` of shape `(B,)`):
            Weighted sum of the rewards of each completion, group by group.
        scorable (`torch.Tensor` of shape `(B,)`):
            True for completions that have a reward.
        turn_rewards (`torch.Tensor` of shape `(A,)`):
            Reward of each action.
        rows (`torch.Tensor` of shape `(A,)`):
            Completion of each action, in order.
        group_size (`int`):
            Completions per group.
        scale (`str`, *optional*, defaults to `"group"`):
            `scale_rewards` of TRL. `"group"` and `"batch"` divide by the standard deviation of `rewards`, or by the root of the
            mean squared advantage if that is larger. One divisor for all turns keeps their proportions.
        discount (`float`, *optional*, defaults to `1.0`):
            Factor of a reward per turn between an action and the reward.
    """
    positions = turn_numbers(rows)
    width = int(positions.max()) + 1
    earned = torch.zeros(len(rewards), width, dtype=torch.float64)
    earned[rows, positions] = turn_rewards.double()
    reached = torch.zeros(len(rewards), width, dtype=torch.bool)
    reached[rows, positions] = True
    reached &= scorable.unsqueeze(1)
    earned = earned.masked_fill(~reached, 0.0).view(-1, group_size, width)
    reached = reached.view(-1, group_size, width)
    total = rewards.double().masked_fill(~scorable, 0.0).view(-1, group_size)

    returns = _returns(earned, discount)
    advantages = _above_others(returns, reached) + _left_over(total, earned, reached, discount)
    advantages = advantages.masked_fill(~reached, 0.0)
    # Rounding alone must not be divided by the standard deviation of a group whose rewards are all equal.
    size = torch.maximum(total.abs().amax(dim=1), returns.abs().amax(dim=(1, 2)))
    flat = advantages.abs().amax(dim=(1, 2)) <= ROUNDING * size
    advantages[flat] = 0.0
    if scale != "none":
        advantages = advantages / (_divisor(advantages, reached, total, scale) + EPSILON)
    return TurnAdvantages(advantages.view(-1, width)[rows, positions], flat)


def _returns(earned: torch.Tensor, discount: float) -> torch.Tensor:
    """What each episode earned from each turn on, shape `(N, G, K)`."""
    returns = earned.clone()
    for turn in range(earned.size(2) - 2, -1, -1):
        returns[:, :, turn] += discount * returns[:, :, turn + 1]
    return returns


def _above_others(returns: torch.Tensor, reached: torch.Tensor) -> torch.Tensor:
    """Returns minus the mean of the other episodes that reached the turn, times `(n - 1) / n`; shape `(N, G, K)`."""
    episodes = reached.any(dim=2).sum(dim=1).clamp(min=1).view(-1, 1, 1)
    others = reached.sum(dim=1, keepdim=True) - 1
    sum_of_others = (returns * reached).sum(dim=1, keepdim=True) - returns
    baseline = torch.where(others > 0, sum_of_others / others.clamp(min=1), 0.0)
    return (returns - baseline) * (episodes - 1) / episodes


def _left_over(total: torch.Tensor, earned: torch.Tensor, reached: torch.Tensor, discount: float) -> torch.Tensor:
    """What the rewards of actions leave over, above the mean of the group, as seen from each turn; shape `(N, G, K)`."""
    known = reached.any(dim=2)
    rest = total - earned.sum(dim=2)
    mean = (rest * known).sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1)
    turns_left = (reached.sum(dim=2, keepdim=True) - 1 - torch.arange(reached.size(2))).clamp(min=0)
    return (rest - mean).unsqueeze(2) * discount**turns_left


def _divisor(advantages: torch.Tensor, reached: torch.Tensor, total: torch.Tensor, scale: str) -> torch.Tensor:
    """Standard deviation that a group is divided by, shape `(N, 1, 1)`."""
    if scale == "batch":
        advantages, reached, total = (values.flatten(0, 1).unsqueeze(0) for values in (advantages, reached, total))
    known = reached.any(dim=2)
    # As many degrees of freedom as there are actions, less one for each turn. Of a turn that one episode reached, there is one.
    freedom = ((reached.sum(dim=1) - 1).clamp(min=1) * reached.any(dim=1)).sum(dim=1)
    count = known.sum(dim=1)
    mean = (total * known).sum(dim=1) / count.clamp(min=1)
    deviations = ((total - mean.unsqueeze(1)) * known).square().sum(dim=1)
    of_rewards = (deviations / (count - 1).clamp(min=1)).sqrt()
    # Episodes with equal rewards may have earned them in different turns.
    of_actions = ((advantages**2).sum(dim=(1, 2)) / freedom.clamp(min=1)).sqrt()
    return torch.maximum(of_rewards, of_actions).view(-1, 1, 1)
