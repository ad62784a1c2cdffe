"""Texts without secrets of this machine: tokens, values of secret variables, and the path of the home folder."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

HIDDEN = "<hidden>"
_NAME = re.compile(r"(?:^|_)(?:tokens?|(?:api)?keys?|secrets?|pwd|credentials?)(?:$|_)|passwo?r?d", re.IGNORECASE)
"""Names of variables whose values are secret."""
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])"
    r"(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|e2b_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|AKIA[0-9A-Z]{16})"
)
"""Tokens of the Hub, of model providers, E2B, GitHub and AWS by their form."""
_SHORTEST = 8
"""Shorter values of secret variables may stand in any text by chance."""


def redacted(text: str) -> str:
    """`text` with `<hidden>` in place of secrets, and `~` in place of the home folder."""
    for value in _secrets():
        text = text.replace(value, HIDDEN)
    text = _TOKEN.sub(HIDDEN, text)
    for home in {str(Path.home()), os.path.realpath(Path.home())}:
        if len(home) > 1:  # the root folder as a home would be in every path
            text = re.sub(rf"{re.escape(home)}(?![\w-])", "~", text)
    return text


def redacted_values(value: Any) -> Any:
    """`value`, lists and dictionaries of any depth, with every text in it redacted."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redacted_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(redacted_values, value))
    return value


def _secrets() -> list[str]:
    """Secret values of this process, the longest first, so that none is left half."""
    values = {value for name, value in os.environ.items() if _NAME.search(name) and len(value) >= _SHORTEST}
    if (token := _stored_token()) is not None:
        values.add(token)
    return sorted(values, key=len, reverse=True)


@cache
def _stored_token() -> str | None:
    """The token that `hf auth login` has stored."""
    from huggingface_hub import get_token

    return get_token()
