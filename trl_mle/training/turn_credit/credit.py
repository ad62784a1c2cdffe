"""The advantage of every action of a global batch, and what rollouts and metrics say of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trl_mle.training.weighting.actions import Actions
from trl_mle.training.weighting.weighting import Weights

WEIGHTS_COLUMN = "per_action_weights"
ADVANTAGES_COLUMN = "per_action_advantages"


@dataclass(frozen=True)
class Credit:
    """The `A` actions of a global batch of `B` completions, and the advantage of each before it is weighted."""

    actions: Actions
    advantages: torch.Tensor
    """Shape `(A,)`, float64; 0 for actions of a completion without a reward."""
    flat: torch.Tensor | None = None
    """Shape `(B / G,)`: True for a group in which no action did better than another. `None` if only whole episodes are
    compared."""

    def row_sizes(self) -> torch.Tensor:
        """Mean size of the advantages of each completion's actions, shape `(B,)`."""
        return self.actions.row_means(self.advantages.abs())

    def columns(self, weights: Weights | None) -> dict[str, list[list[float]]]:
        """Columns of rollouts: for each completion the advantages, and the weights if there are any, of its actions."""
        found = {ADVANTAGES_COLUMN: self.actions.by_row(self.advantages)}
        if weights is not None:
            found[WEIGHTS_COLUMN] = self.actions.by_row(self._weights(weights))
        return found

    def pushes(self, weights: Weights | None) -> torch.Tensor:
        """Advantage times weight of every action, shape `(A,)`."""
        return self.advantages if weights is None else self.advantages * self._weights(weights)

    def _weights(self, weights: Weights) -> torch.Tensor:
        return weights.per_completion[self.actions.rows] if weights.per_action is None else weights.per_action
