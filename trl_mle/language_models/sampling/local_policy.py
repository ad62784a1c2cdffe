"""What the policies that run on this machine have in common: their tokenizer renders and counts conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trl_mle.errors import ConfigError
from trl_mle.language_models.sampling.tool_calls import with_tool_calls


class LocalPolicy:
    """Base class of a policy with a tokenizer of its own.

    Args:
        model (`str`):
            Name of the policy, for messages.
        chat_template_kwargs (mapping, *optional*):
            Arguments of the chat template.
    """

    def __init__(self, model: str, chat_template_kwargs: Mapping[str, Any] | None):
        self.model = model
        self._template = dict(chat_template_kwargs or {})
        self._tokenizer: Any
        self._tool_tokenizer: Any = None

    def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """See [`Policy`]."""
        return len(self._ids(messages))

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Special tokens of the tokenizer, which no text of a prompt may hold."""
        return tuple(self._tokenizer.all_special_tokens)

    def _check_chat_template(self) -> None:
        if self._tokenizer.chat_template is None:
            raise ConfigError(f"The policy {self.model!r} has no chat template. Give an instruction-tuned model.")

    def _prepare_tools(self, tools: Sequence[Mapping[str, Any]] | None) -> None:
        """Make the tokenizer that reads tool calls, at the first call with tools."""
        if tools is not None and self._tool_tokenizer is None:
            self._tool_tokenizer = with_tool_calls(self._tokenizer, self.model)

    def _ids(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[int]:
        """Tokens of the conversation up to the policy's answer."""
        return self._tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=None if tools is None else list(tools),
            tokenize=True,
            add_generation_prompt=True,
            return_dict=False,
            **self._template,
        )
