"""`AgentEpisode`: one rollout of a policy in an environment: it writes a message, its tool calls run, and so on."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trl_mle.environments import Episode, MLEEnvironment
from trl_mle.environments.actions import actions_of
from trl_mle.environments.records import turns_as_text
from trl_mle.language_models.sampling import Sample
from trl_mle.types import Outcome

MOST_CALLS = 32
"""Tool calls of one message that are answered."""
IDLE_MESSAGES = 4
"""Messages beyond one per program that an episode may have: calls that do nothing are answered, but not for ever."""

Ask = Callable[[Sequence[Mapping[str, Any]], int, int], Awaitable[Sample | None]]
"""Messages, number of the message and most tokens -> the policy's next message; `None` if the conversation is too long for it."""


class AgentEpisode:
    """A rollout that goes on until the policy calls no tool, submits, or has used up its tokens or messages.

    Args:
        environment ([`MLEEnvironment`]):
            Environment, reset to the task.
        prompt (sequence of chat messages):
            The prompt.
        runs (`int`):
            Programs of the budget.
        max_tokens (`int`):
            Most tokens of the whole episode, answers of tools included, as in training. Tokens that an endpoint does not tell
            are not counted.
    """

    def __init__(self, environment: MLEEnvironment, prompt: Sequence[Mapping[str, Any]], runs: int, max_tokens: int):
        self.environment = environment
        self.messages: list[dict[str, Any]] = [dict(message) for message in prompt]
        self.samples: list[Sample] = []
        self.ended = False
        self._is_too_long = False
        self._prompt_length = len(self.messages)
        self._most_messages = runs + IDLE_MESSAGES
        self._left = self._max_tokens = max_tokens

    async def write(self, ask: Ask) -> None:
        """Let the policy write its next message."""
        sample = await ask(self.messages, len(self.samples), self._left)
        if sample is None:
            self.ended = self._is_too_long = True
            return
        message = dict(sample.message or {"role": "assistant", "content": sample.text})
        if message.get(
            "tool_calls"
        ):  # the rest is left out of the conversation, too: a protocol may want an answer to each
            message["tool_calls"] = list(message["tool_calls"])[:MOST_CALLS]
        self.samples.append(sample)
        self.messages.append(message)
        first = self.samples[0].prompt_tokens
        if first is not None and sample.prompt_tokens is not None and sample.tokens is not None:
            self._left = self._max_tokens - (sample.prompt_tokens - first + sample.tokens)
        self.ended = not message.get("tool_calls")

    async def act(self) -> None:
        """Run the tool calls of the last message, one after another."""
        if self.ended:
            return
        for call in list(self.messages[-1].get("tool_calls") or ()):
            name, answer = await self._answer(call)
            reply: dict[str, Any] = {"role": "tool", "name": name, "content": answer}
            if isinstance(call, Mapping) and call.get("id") is not None:
                reply["tool_call_id"] = call["id"]
            self.messages.append(reply)
        episode = self.environment.episode
        self.ended = (
            episode.submitted
            or episode.fault is not None
            or self._left < 1
            or len(self.samples) >= self._most_messages
        )

    async def _answer(self, call: Any) -> tuple[str, str]:
        """Name of the tool and its answer. A call that no tool takes is answered with an error, as TRL's trainers do."""
        function = call.get("function") if isinstance(call, Mapping) else None
        name = str(function.get("name")) if isinstance(function, Mapping) else "unknown"
        tools: dict[str, Callable[..., Awaitable[str]]] = {
            "run_program": self.environment.run_program,
            "submit": self.environment.submit,
        }
        tool = tools.get(name)
        try:
            if tool is None:
                raise ValueError(f"Tool {name} not found.")
            assert isinstance(function, Mapping)
            arguments = function.get("arguments") or {}
            if not isinstance(arguments, Mapping):
                raise ValueError("The arguments are no JSON object.")
            return name, await tool(**arguments)
        except Exception as error:
            return name, str({"error": str(error)})

    def sample(self) -> Sample:
        """The whole episode as one sample: its messages as JSON text, its tokens and seconds together."""
        costs = [sample.cost for sample in self.samples]
        return Sample(
            text=json.dumps(self.messages[self._prompt_length :], default=str),
            tokens=_sum([sample.tokens for sample in self.samples]),
            truncated=any(sample.truncated for sample in self.samples) or self._is_too_long or self._left < 1,
            seconds=sum(sample.seconds for sample in self.samples),
            prompt_tokens=_sum([sample.prompt_tokens for sample in self.samples]),
            cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        )

    def outcome(self) -> Outcome:
        """The outcome of the episode, with the seconds of all its programs."""
        episode: Episode = self.environment.episode
        if episode.unavailable is not None:
            raise episode.unavailable
        return replace(episode.outcome, duration_s=episode.seconds)

    def turns(self) -> str:
        """The turns as JSON text, see [`read_turns`]."""
        return turns_as_text(actions_of(self.messages[self._prompt_length :], self.environment.episode))


def _sum(values: Sequence[int | None]) -> int | None:
    return None if None in values else sum(value for value in values if value is not None)
