"""`ExactShares`: choices whose shares are exact over any stretch of them, and not only in the mean as with a coin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trl_mle.curriculum.mixture import deal


class ExactShares:
    """Deals out kinds in given shares, for each key apart, as [`deal`] does.

    After any number of choices a kind is less than one choice ahead of its share. Nothing is random, so that a run with one
    group per update has an improve prompt in exactly every second update at a share of one half.

    Args:
        shares (mapping from `str` to `float`):
            Kind -> share, which sum to 1. Of kinds with equal credit, the first one is chosen.
    """

    def __init__(self, shares: Mapping[str, float]):
        self._shares = dict(shares)
        self._credit: dict[str, dict[str, float]] = {}

    def next(self, key: str) -> str:
        """The kind of the next choice for `key`."""
        (chosen,), self._credit[key] = deal(self._credit.get(key, {}), self._shares, 1)
        return chosen

    def state_dict(self) -> dict[str, Any]:
        """Key -> kind -> credit."""
        return {key: dict(credit) for key, credit in self._credit.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Continue from a state, also from one of other shares or kinds: credit is never more than a few choices."""
        self._credit = {
            key: {kind: float(credit.get(kind, 0.0)) for kind in self._shares} for key, credit in state.items()
        }
