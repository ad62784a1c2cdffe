"""Texts of rollouts, packed: each text once, in blocks that a browser unpacks when it needs one."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

BLOCK_CHARACTERS = 400_000
"""Characters of a block. A browser unpacks one in some milliseconds."""
TEXT_CHARACTERS = 60_000
"""Most characters of a text: its first and last half. No program of a policy that anyone reads is longer."""
ABSENT = -1
"""Number of a text that there is not."""


class TextStore:
    """Distinct texts, numbered in the order in which they are added.

    Args:
        max_bytes (`float`):
            Size that all blocks together may have in the file. Texts beyond it are refused.
    """

    def __init__(self, max_bytes: float):
        self.max_bytes = max_bytes
        self.bytes = 0
        self.blocks: list[str] = []
        """Packed blocks: JSON lists of texts, compressed, in base64."""
        self.starts: list[int] = []
        """Number of the first text of each block."""
        self._numbers: dict[str, int] = {}
        self._open: list[str] = []
        self._open_characters = 0

    @property
    def is_full(self) -> bool:
        """Whether further texts are refused."""
        return self.bytes >= self.max_bytes

    def add(self, text: Any) -> int:
        """Number of `text`, or `ABSENT` if it is no text, or empty."""
        if not isinstance(text, str) or not text:
            return ABSENT
        known = self._numbers.get(text)
        if known is not None:
            return known
        number = self._numbers[text] = len(self._numbers)
        self._open.append(text)
        self._open_characters += len(text)
        if self._open_characters >= BLOCK_CHARACTERS:
            self.flush()
        return number

    def flush(self) -> None:
        """Pack the texts that are in no block yet."""
        if not self._open:
            return
        block = packed(self._open)
        self.starts.append(len(self._numbers) - len(self._open))
        self.blocks.append(block)
        self.bytes += len(block)
        self._open, self._open_characters = [], 0


def packed(value: Any) -> str:
    """`value` as JSON, compressed, in base64: letters, digits and `+/=` alone, so nothing in it is markup."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("ascii"), compresslevel=6, mtime=0)).decode("ascii")
