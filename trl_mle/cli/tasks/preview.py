"""`trl-mle tasks preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trl_mle.cli.printable import printable


def preview(
    task: Annotated[str, typer.Argument(help="Task name, such as builtin:digits, or a task folder.")],
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer that counts: a folder, or a name on the Hub. Without one, no count.")
    ] = None,
    parent: Annotated[
        Path | None, typer.Option(help="Program that is run first and shown as the earlier solution.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Budget of the prompt; an earlier solution is shortened to fit it.")
    ] = None,
    isolation: Annotated[str, typer.Option(help="Of --parent: 'required', or 'none' if you trust it.")] = "required",
) -> None:
    """Print the messages that a policy gets for a task, and their number of tokens."""
    from trl_mle.errors import ConfigError, ParentNotShownError
    from trl_mle.prompts import PromptBudget, build_prompt
    from trl_mle.scripts.one_program import read_program, score_program
    from trl_mle.scripts.prompt_tokens import chat_tokenizer
    from trl_mle.tasks import load_task

    loaded = load_task(task)
    if max_tokens is not None and tokenizer is None:
        raise ConfigError("`--max-tokens` needs `--tokenizer`, which counts them.")
    # Before the program runs, because it may run for minutes.
    counter = PromptBudget.of_tokenizer(chat_tokenizer(tokenizer), max_tokens or 1) if tokenizer else None
    if max_tokens is not None and max_tokens < 1:
        raise ConfigError(f"`--max-tokens` is {max_tokens}; write a number of at least 1.")
    earlier = None if parent is None else score_program(read_program(parent), loaded, isolation)
    try:
        messages = build_prompt(loaded, earlier, budget=None if max_tokens is None else counter)
    except ParentNotShownError as error:
        reason = str(error) if earlier is None or earlier.fault is None else earlier.fault
        raise ConfigError(f"{parent} (`--parent`) cannot be shown: {reason}") from error
    console = Console()
    for message in messages:
        console.rule(message["role"])
        console.print(printable(message["content"]), markup=False, highlight=False, soft_wrap=True)
    characters = sum(len(message["content"]) for message in messages)
    size = f"{characters} characters"
    if counter is not None:
        size = f"{counter.count(messages)} tokens with {tokenizer} (chat template included), {size}"
    console.rule()
    console.print(size + ("" if counter else "; `--tokenizer` counts tokens"), markup=False, soft_wrap=True)
