"""Tool calls of models in this process: schemas of tools, and messages parsed from tokens, as TRL's trainers have them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trl_mle.errors import ConfigError

MAX_DEPTH = 100
"""Lists and objects within each other in a message, as in training."""


def tool_schemas(functions: Sequence[Callable[..., Any]]) -> list[dict[str, Any]]:
    """The JSON schema of each function, from its annotations and Google-style docstring: what a policy is told of a tool."""
    from transformers.utils import get_json_schema

    return [get_json_schema(function) for function in functions]


def with_tool_calls(tokenizer: Any, model: str) -> Any:
    """A copy of `tokenizer` that can parse tool calls.

    Raises:
        ConfigError: its chat template has no tool calls, or their form is not known.
    """
    from trl.chat_template_utils import add_response_schema, supports_tool_calling

    tokenizer = copy.deepcopy(tokenizer)
    if not supports_tool_calling(tokenizer):
        raise ConfigError(
            f"The chat template of the policy {model!r} has no tool calls. Evaluate it without `mode` 'agent'."
        )
    known = (getattr(tokenizer, name, None) for name in ("response_template", "response_schema"))
    if all(form is None for form in known):
        try:
            add_response_schema(tokenizer)
        except ValueError as error:
            raise ConfigError(
                f"How the policy {model!r} writes tool calls is not known: set `response_template` of its tokenizer ({error})."
            ) from error
    return tokenizer


def parse_message(
    tokenizer: Any, ids: Sequence[int], prompt_ids: Sequence[int], tools: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The policy's message in the tokens `ids`. What cannot be parsed, or is nested too deeply, is text without a call."""
    from trl.chat_template_utils import parse_response

    try:
        return plain(
            parse_response(tokenizer, list(ids), prefix=list(prompt_ids), tools=[dict(tool) for tool in tools])
        )
    except (RecursionError, ValueError):
        return {"role": "assistant", "content": tokenizer.decode(list(ids), skip_special_tokens=True)}


def plain(value: Any, depth: int = 0) -> Any:
    """`value`, as JSON has it, with a question mark for each half of a surrogate pair, which no tokenizer takes.

    Raises:
        ValueError: it is nested more than `MAX_DEPTH` times.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if depth > MAX_DEPTH:
        raise ValueError(f"It is nested more than {MAX_DEPTH} times.")
    if isinstance(value, Mapping):
        return {plain(key): plain(item, depth + 1) for key, item in value.items()}
    return [plain(item, depth + 1) for item in value] if isinstance(value, (list, tuple)) else value
