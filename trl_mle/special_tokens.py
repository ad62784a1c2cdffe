"""Text from data in chat messages: the special tokens of chat templates are escaped, so that they never open or close a turn.

A tokenizer turns `<|im_end|>` into the token that ends a message, wherever it stands. Which texts are such tokens differs by
model, so patterns are escaped, not a list: what looks like a tag, and words in capitals between brackets. The first character
becomes the escape that Python and JSON have for it, `\\u003c` for `<`: as a string literal, the text still names the column or
the value.
"""

from __future__ import annotations

import re

PATTERN = re.compile(
    r"<(?=/?[A-Za-z_\u4e00-\u9fff][^<>\s]{0,60}>)"  # <think>, </s>, <start_of_turn>, <seed:think>, <tool_call>
    r"|<(?=0x[0-9A-F]{2}>)"  # <0x0A>
    r"|<(?=[|\uff5c/\[])|(?<=[|\uff5c])>"  # <|im_start|>, <｜User｜>
    r"|<(?=<?/?SYS>)"
    r"|\[(?=/?[a-z]?[A-Z][A-Z0-9_]{2,}\])"  # [INST], [/INST], [TOOL_CALLS], [gMASK], [UNUSED_TOKEN_145]
    r"|\[(?=[|\uff5c]|control_\d+\])|(?<=[|\uff5c])\]"  # [|assistant|], [|endofturn|], [control_8]
    r"|\](?=~|![a-z]~\[)|\[(?=e~\[)"  # ]~b]user, ]~!b[, ]!p~[, [e~[
    r"|>(?=>[A-Z_]+<<)"  # >>QUESTION<<
    r"|[\u25c1\u25b7]"  # ◁think▷
    r"|[\ud800-\udfff]"  # half of a character: no tokenizer takes it
)


def escape(text: str) -> str:
    """`text` with `\\uXXXX` for the first character of whatever could be a special token."""
    return PATTERN.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
