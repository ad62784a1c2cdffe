"""Text of others on the terminal: of tasks, programs and files."""

from __future__ import annotations


def printable(text: str, limit: int | None = None) -> str:
    """`text` without control characters, which could write over the terminal.

    Args:
        text (`str`):
            What a task, a program or a file holds.
        limit (`int`, *optional*):
            Characters at each end that are kept. All by default.
    """
    from trl_mle.prompts.quoting import clean_output

    return clean_output(text, limit)
