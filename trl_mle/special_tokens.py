"""Text from data in chat messages: the special tokens of chat templates are escaped, so that they never open or close a turn.

A tokenizer turns `<|im_end|>` into the token that ends a message, wherever it stands. Which texts are such tokens differs by
model, so patterns are escaped: what looks like a tag, and those words between brackets that are tokens. The first character
becomes the escape that Python and JSON have for it, `\\u003c` for `<`: as a string literal, the text still names the column or
the value.

In a program, words in capitals between brackets are mostly items (`frame[TARGET_COLUMN]`), so fewer of them are escaped.
"""

from __future__ import annotations

import re

_WITHOUT_BRACKETS = (
    r"<(?=/?[A-Za-z_\u4e00-\u9fff][^<>\s]{0,60}>)"  # <think>, </s>, <start_of_turn>, <seed:think>, <tool_call>
    r"|<(?=0x[0-9A-F]{2}>)"  # <0x0A>
    r"|<(?=[|\uff5c/\[])|(?<=[|\uff5c])>"  # <|im_start|>, <｜User｜>
    r"|<(?=<?/?SYS>)"
    r"|\[(?=[|\uff5c]|control_\d+\])|(?<=[|\uff5c])\]"  # [|assistant|], [|endofturn|], [control_8]
    r"|\](?=~|![a-z]~\[)|\[(?=e~\[)"  # ]~b]user, ]~!b[, ]!p~[, [e~[
    r"|>(?=>[A-Z_]+<<)"  # >>QUESTION<<
    r"|[\u25c1\u25b7]"  # ◁think▷
    r"|[\ud800-\udfff]"  # half of a character: no tokenizer takes it
)
_BRACKETED = (
    r"|\[(?=/?(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_CONTENT|TOOL_RESULTS|MODEL_SETTINGS|"
    r"CALL_ID|ARGS|THINK|IMG|IMG_BREAK|IMG_END|AUDIO|BEGIN_AUDIO|PREFIX|MIDDLE|SUFFIX|[gs]?MASK)\])"
)
PATTERN = re.compile(
    _WITHOUT_BRACKETS
    + _BRACKETED
    + r"|\[(?=/?(?:CLS|SEP|PAD|UNK|BOS|EOS|EOT|USER|ASSISTANT|SYSTEM|[A-Z]+_[A-Z0-9_]+)\])"
)  # [INST], [TOOL_CALLS], [gMASK], [UNUSED_TOKEN_145], but not the unit in `Price [USD]`
_IN_CODE = re.compile(_WITHOUT_BRACKETS + _BRACKETED)
_ESCAPED = re.compile(r"\\u(003c|003e|005b|005d|25c1|25b7)")


def escape(text: str) -> str:
    """`text` with `\\uXXXX` for the first character of whatever could be a special token."""
    return PATTERN.sub(_escaped, text)


def escape_code(text: str) -> str:
    """As `escape`, for the text of a program."""
    return _IN_CODE.sub(_escaped, text)


def unescape(text: str) -> str:
    """`text` with the characters that `escape` and `escape_code` replace."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"
