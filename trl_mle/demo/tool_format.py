"""How the demo policy writes tool calls: chat template and response template in the XML form of Qwen3-Coder.

Code stands in a call as it is. JSON would escape its quotes and line breaks, and a token of the demo policy is a whole line of a
program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHAT_TEMPLATE = """\
{%- for message in messages %}
{%- if message['role'] == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}
{%- generation %}
{{- message['content'] or '' }}
{%- for call in message['tool_calls'] or [] %}
{{- '\\n' if message['content'] and loop.first else '' }}
{{- '<tool_call>\\n<function=' + call['function']['name'] + '>\\n' }}
{%- for name, value in (call['function']['arguments'] or {}) | items if value is not none %}
{{- '<parameter=' + name + '>\\n' + value | string | trim + '\\n</parameter>\\n' }}
{%- endfor %}
{{- '</function>\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>' }}
{%- endgeneration %}
{{- '\\n' }}
{%- else %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{{- '<|im_start|>assistant\\n' if add_generation_prompt else '' }}"""
"""ChatML with tool calls. The tools are not rendered: the prompt of an agent names them in words, and on a CPU every token of a
prompt costs. `{% generation %}` marks what the policy writes, for a loss on these tokens alone. An argument that is `None` is
left out: a table of calls may have a column for the arguments of every tool."""
RESPONSE_TEMPLATE: Mapping[str, Any] = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<tool_call>\s*<function=(?P<name>[^\n>]+)>\n?",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {"tag_pattern": r"<parameter=(?P<key>[^\n>]+)>\n(?P<value>.*?)\n</parameter>"},
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close_pattern": r"<\|im_end\|>\s*", "content": "text"},
    },
}
"""What `transformers` parses a completion with: the inverse of `CHAT_TEMPLATE`."""
MARKERS = (
    "tool\n",
    "<tool_call>\n<function=run_program>\n<parameter=code>\n",
    "</parameter>\n</function>\n</tool_call>",
    "<tool_call>\n<function=submit>\n</function>\n</tool_call>",
)
"""Parts of a conversation with tools that are one token each: the role of an observation, the beginning and the end of a call with
a program, and the call that submits."""
