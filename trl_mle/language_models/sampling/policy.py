"""What a sampled policy is: the protocol, its records, and how a policy is written on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from trl_mle.errors import ConfigError

Kind = Literal["transformers", "vllm", "endpoint"]
SEEDS = 2**31
"""Seeds are below this number: some servers keep them in 32 bits with a sign."""
_ENDPOINT = re.compile(r"(?P<model>.+)@(?P<url>https?://.+)")
_NAME = re.compile(r"(?P<name>[^=@/:\s]+)=(?P<rest>.+)")


@dataclass(frozen=True)
class Prices:
    """Prices of a hosted model, in any one currency."""

    prompt: float = 0.0
    """Price of a million prompt tokens."""
    completion: float = 0.0
    """Price of a million completion tokens."""

    def __post_init__(self):
        for name in ("prompt", "completion"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"The price of {name} tokens is {value}; it must be 0 or more.")

    def cost(self, prompt_tokens: int | None, tokens: int | None) -> float | None:
        """Cost of a sample, or `None` if its tokens are not known."""
        if prompt_tokens is None or tokens is None:
            return None
        return (self.prompt * prompt_tokens + self.completion * tokens) / 1e6


@dataclass(frozen=True)
class Sample:
    """One completion of a policy."""

    text: str
    """What the policy wrote, without special tokens. Empty if it wrote nothing that is text."""
    tokens: int | None
    """Completion tokens, the end token included; `None` if the endpoint does not say. Choices of one request share its tokens."""
    truncated: bool
    """Whether it was cut off at `max_tokens`, or at the end of the model's context."""
    seconds: float
    """Wall-clock seconds of the request or batch that it came from, queue excluded."""
    prompt_tokens: int | None = None
    """Prompt tokens; choices of one request share them."""
    cost: float | None = None
    """Cost by the policy's prices; `None` without prices or tokens."""
    message: Mapping[str, Any] | None = None
    """The message as the next prompt shows it, if tools were given: `role`, `content` and, if it calls tools, `tool_calls`
    of the form `{"type": "function", "function": {"name": ..., "arguments": {...}}}`."""


class Policy(Protocol):
    """A policy that writes completions. It is used within one event loop, concurrently."""

    model: str
    """Hub id, path, or the name at the endpoint."""
    samples_per_request: int
    """Samples that are best asked for together."""

    async def sample(
        self,
        messages: Sequence[Mapping[str, Any]],
        n: int,
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        seed: int,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Sample]:
        """`n` completions of a conversation.

        Args:
            messages (sequence of chat messages):
                The conversation; the last message is not the assistant's.
            n (`int`):
                Number of completions.
            temperature (`float`):
                Temperature; 0 takes the most likely token.
            top_p (`float`):
                Share of the probability that is sampled from, in (0, 1].
            max_tokens (`int`):
                Longest completion, in tokens.
            tools (sequence of mappings, *optional*):
                JSON schemas of tools, see [`tool_schemas`]. Samples then have a `message`.
            seed (`int`):
                Seed, from 0 to `SEEDS - 1`. With equal arguments a model in this process repeats itself; an endpoint may not.

        Raises:
            NoAnswerError: the policy has no answer; its `kind` says why. `"refused"`: this conversation is too long.
        """
        ...

    def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Tokens of a prompt after the chat template; `None` if the tokenizer is not at hand."""
        ...

    async def aclose(self) -> None:
        """Release the model or the connections. A second call does nothing."""
        ...


@dataclass(frozen=True)
class PolicySource:
    """Where a policy comes from.

    Args:
        name (`str`):
            Name in tables.
        model (`str`):
            Hub id or path; for an endpoint, the name of the model there.
        kind (`str`):
            `"transformers"`, `"vllm"` or `"endpoint"`.
        endpoint (`str`, *optional*):
            Base URL of the endpoint.
        options (mapping, *optional*):
            Further arguments of [`open_policy`].
    """

    name: str
    model: str
    kind: Kind = "transformers"
    endpoint: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_source(text: str) -> PolicySource:
    """The policy that `text` names: `[NAME=]MODEL`, `[NAME=]vllm:MODEL` or `[NAME=]MODEL@URL`.

    `MODEL` is a hub id or a folder. Before `@` it is the name of a model at the OpenAI-compatible endpoint `URL`, such as
    `gpt=my-model@http://127.0.0.1:8000/v1`. The name defaults to the model.

    Raises:
        ConfigError: the text has none of these forms.
    """
    match = _NAME.fullmatch(text)
    name, rest = (match["name"], match["rest"]) if match else (None, text)
    if (endpoint := _ENDPOINT.fullmatch(rest)) is not None:
        return PolicySource(name or endpoint["model"], endpoint["model"], "endpoint", endpoint["url"])
    kind: Kind = "vllm" if rest.startswith("vllm:") else "transformers"
    model = rest.removeprefix("vllm:")
    if not model or "://" in model:
        raise ConfigError(
            f"The policy {text!r} has no known form. Write a folder or hub id, `vllm:` before it, or `MODEL@http://HOST:PORT/v1`; "
            "a name for tables may stand before it: `NAME=...`."
        )
    return PolicySource(name or model.rstrip("/"), model, kind)
