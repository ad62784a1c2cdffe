"""Which turns of an episode each message of the policy made: the actions of a completion, with their seconds and rewards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl_mle.environments.episode import Episode, Turn, total


@dataclass(frozen=True)
class Action:
    """One message of the policy, and the turns that its tool calls were. A call with wrong arguments is no turn: it never
    reached the environment."""

    turns: tuple[Turn, ...]

    @property
    def seconds(self) -> float | None:
        """Wall-clock seconds of its programs; `None` if none ran."""
        return total(turn.seconds for turn in self.turns)

    @property
    def cpu_seconds(self) -> float | None:
        """CPU seconds of its programs; `None` if none ran."""
        return total(turn.cpu_seconds for turn in self.turns)


def actions_of(completion: Any, episode: Episode) -> list[Action]:
    """The actions of a completion, at least one.

    Calls are matched with turns in order, by tool and arguments. Turns without a call (a trainer that keeps no messages) are
    part of the last action, so that no second is lost.

    Args:
        completion (`list[dict]`):
            Messages of the completion.
        episode ([`Episode`]):
            What its environment has kept.
    """
    left = list(reversed(episode.turns))
    actions: list[list[Turn]] = []
    for message in _policy_messages(completion):
        actions.append([])
        for name, arguments in _calls(message):
            if left and left[-1].tool == name and left[-1].arguments == arguments:
                actions[-1].append(left.pop())
    if not actions:
        actions.append([])
    actions[-1].extend(reversed(left))
    return [Action(tuple(turns)) for turns in actions]


def action_rewards(actions: Sequence[Action], episode: Episode) -> list[float | None]:
    """What each action adds to the reward that the episode would get if it ended there.

    They sum to the reward of the episode minus that of an episode without any call. After an infrastructure fault, nothing is
    known about any action of the episode (`None`).
    """
    if episode.outcome.reward is None:
        return [None] * len(actions)
    rewards: list[float | None] = []
    before = episode.initial_value
    for action in actions:
        after = action.turns[-1].value if action.turns else before
        assert after is not None
        rewards.append(after - before)
        before = after
    return rewards


def _policy_messages(completion: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(completion, (list, tuple)):
        for message in completion:
            if isinstance(message, Mapping) and message.get("role") == "assistant":
                yield message


def _calls(message: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, (list, tuple)) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            yield function.get("name"), function.get("arguments")
