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
    r"(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|e2b_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}|A[KS]IA[0-9A-Z]{16})"
)
"""Tokens of the Hub, of model providers, E2B, GitHub and AWS by their form."""
_SHORTEST = 8
"""Shorter values of secret variables may stand in any text by chance."""


def redacted(text: str) -> str:
    """`text` with `<hidden>` in place of secrets, and `~` in place of the home folder."""
    return Redactor()(text)


class Redactor:
    """`redacted` for many texts: what is secret on this machine is looked up once."""

    def __init__(self) -> None:
        self._values = _secrets()
        homes = {home for home in (str(Path.home()), os.path.realpath(Path.home())) if len(home) > 1}
        # The root folder as a home would be in every path.
        self._home = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(homes)))})(?![\w-])") if homes else None

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, HIDDEN)
        text = _TOKEN.sub(HIDDEN, text)
        return text if self._home is None else self._home.sub("~", text)

    def values(self, value: Any) -> Any:
        """`value`, lists and dictionaries of any depth, with every text in it redacted."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {key: self.values(item) for key, item in value.items()}
        return type(value)(map(self.values, value)) if isinstance(value, (list, tuple)) else value


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
