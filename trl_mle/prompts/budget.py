"""`PromptBudget`: the most tokens of a prompt, and what is left out of an earlier solution to keep to it.

What is left out, in this order, until the prompt fits:

1. output, from its middle (of an error: from its start, up to its last 200 characters);
2. comments and blank lines of the program, after which output has the room that this gives;
3. the plan, from its end.

The code itself is never cut: a program with a hole teaches a policy to write programs with holes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trl_mle.errors import ConfigError
from trl_mle.prompts.earlier import EarlierSolution

Messages = list[dict[str, str]]

MOST_PER_TOKEN = 160
"""Characters that a token of text has at most. A longer program than this allows is not even counted."""
PARTS = 32
"""The number of characters to keep is found to 1/32 of the text."""
SMALLEST_STEP = 16
"""Fewer characters are not worth another count."""


@dataclass(frozen=True)
class PromptBudget:
    """The most tokens of a prompt.

    Args:
        tokens (`int`):
            Most tokens of the chat messages.
        count (`Callable[[list[dict]], int]`):
            Number of tokens of chat messages after the chat template, with the generation prompt. It is called at most
            ten times per prompt.
        special_tokens (`tuple[str, ...]`, *optional*, defaults to `()`):
            Special tokens of the tokenizer. No text of a prompt will hold one of them. Tokens that look like those of known
            models (`<|im_end|>`, `[INST]`) are escaped in any case.

    Raises:
        ConfigError: `tokens` is less than 1.
    """

    tokens: int
    count: Callable[[list[dict[str, str]]], int]
    special_tokens: tuple[str, ...] = ()

    def __post_init__(self):
        if self.tokens < 1:
            raise ConfigError(f"The token budget of prompts is {self.tokens}; it must be at least 1.")

    @classmethod
    def of_tokenizer(
        cls, tokenizer: Any, tokens: int, chat_template_kwargs: Mapping[str, Any] | None = None
    ) -> PromptBudget:
        """The budget for a tokenizer of `transformers` that has a chat template.

        Args:
            tokenizer (`PreTrainedTokenizerBase`):
                Tokenizer of the policy. Its special tokens are escaped.
            tokens (`int`):
                Most tokens of a prompt.
            chat_template_kwargs (`Mapping[str, Any]`, *optional*):
                Arguments of the chat template, the same as the trainer's.

        Raises:
            ConfigError: `tokens` is less than 1.
        """
        options = dict(chat_template_kwargs or {})

        def count(messages: Sequence[Mapping[str, str]]) -> int:
            ids = tokenizer.apply_chat_template(
                list(messages), tokenize=True, add_generation_prompt=True, return_dict=False, **options
            )
            return len(ids)

        added = tokenizer.added_tokens_decoder.values()
        return cls(tokens, count, tuple(token.content for token in added if token.special))

    def allows(self, messages: Messages) -> bool:
        """Whether `messages` have at most `tokens` tokens."""
        return self.count(messages) <= self.tokens


def check_budget(messages: Messages, budget: PromptBudget, task_id: str) -> None:
    """Raise `ConfigError` if `messages`, the prompt without an earlier solution, do not fit."""
    needed = budget.count(messages)
    if needed > budget.tokens:
        raise ConfigError(
            f"The prompt of task {task_id!r} alone has {needed} tokens, but prompts may have {budget.tokens}. Raise the limit, "
            "or shorten the task's description."
        )


def fit(
    earlier: EarlierSolution, render: Callable[[EarlierSolution], Messages], budget: PromptBudget
) -> Messages | None:
    """The prompt that shows most of `earlier` within `budget`; `None` if its program alone does not fit."""
    if len(earlier.code) > MOST_PER_TOKEN * budget.tokens:
        return None
    whole = render(earlier)
    if budget.allows(whole):
        return whole
    bare = earlier.without_comments()
    for version in dict.fromkeys((earlier, bare)):
        found = _longest(version.least_output, len(version.output), _cutting_output(version, render), budget)
        if found is not None:
            return found
    least = bare.with_output(bare.least_output)
    return _longest(0, len(bare.plan), lambda n: render(least.with_plan(n)), budget)


def _cutting_output(
    version: EarlierSolution, render: Callable[[EarlierSolution], Messages]
) -> Callable[[int], Messages]:
    return lambda characters: render(version.with_output(characters))


def _longest(low: int, high: int, render: Callable[[int], Messages], budget: PromptBudget) -> Messages | None:
    """The prompt with the most characters of a text between `low` and `high` that fits, by bisection; `None` if none does."""
    best = render(low)
    if not budget.allows(best):
        return None
    step = max(SMALLEST_STEP, (high - low) // PARTS)
    while high - low > step:
        middle = (low + high) // 2
        messages = render(middle)
        if budget.allows(messages):
            low, best = middle, messages
        else:
            high = middle
    return best
