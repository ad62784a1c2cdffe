"""Tool calls that would end a run of TRL: whatever a policy writes is a message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_DEPTH = 100
"""Lists and dictionaries within each other in the arguments of a tool call."""


@contextmanager
def any_text_is_a_message(tokenizer: Any) -> Iterator[None]:
    """Within it, `tokenizer.parse_response` is safe with any completion.

    TRL takes a completion that cannot be parsed (`ValueError`) for text. Two kinds of tool calls get past that, and end the run.
    JSON that is nested a thousand times is a `RecursionError`; here it is text, too. Halves of surrogate pairs (`"\\ud800"`) in a
    tool's name or arguments are taken by no tokenizer when the next turn is rendered; here they are replaced.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The tokenizer of a policy that calls tools.
    """
    parse = tokenizer.parse_response

    def parse_response(*args: Any, **kwargs: Any) -> Any:
        try:
            return without_surrogates(parse(*args, **kwargs))
        except RecursionError:
            raise ValueError("The tool call is nested too deeply.") from None

    replaced = vars(tokenizer).get("parse_response")
    tokenizer.parse_response = parse_response
    try:
        yield
    finally:
        if replaced is None:
            del tokenizer.parse_response
        else:
            tokenizer.parse_response = replaced


def without_surrogates(value: Any, depth: int = 0) -> Any:
    """`value` with a question mark for each half of a surrogate pair in its texts, also within lists and dictionaries.

    Raises:
        ValueError: it is nested more than `MAX_DEPTH` times beyond the message and its calls.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if depth > MAX_DEPTH:
        raise ValueError(f"The tool call is nested more than {MAX_DEPTH} times.")
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [without_surrogates(item, depth + 1) for item in value]
    return value
