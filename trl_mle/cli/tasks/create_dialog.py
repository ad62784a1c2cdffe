"""The dialogue of `trl-mle tasks create`: shows what is proposed, asks what is open."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trl_mle.cli.printable import printable

if TYPE_CHECKING:
    from trl_mle.tasks.create import Proposal, Question

SHOWN_COLUMNS = 30
"""Columns of the table that are shown."""


def settle(path: str, options: dict[str, Any], yes: bool, console: Console) -> dict[str, Any]:
    """Complete the arguments of `create_task` with what is found in the data, and with answers on a terminal.

    Arguments that name target and metric are not changed and nothing is shown, because nothing is proposed.

    Args:
        path (`str`):
            The table or the folder.
        options (`dict`):
            Arguments of `create_task` about the data.
        yes (`bool`):
            Whether the proposal is taken without asking.

    Raises:
        TaskError: something is open and there is no terminal, or the proposal is not confirmed.
    """
    from trl_mle.errors import TaskError
    from trl_mle.tasks.create import Request, propose, raise_open
    from trl_mle.tasks.create.proposal import ROW_IDS

    if options["target"] and options["metric"]:
        return options
    on_terminal = has_terminal(console)
    while True:
        request = Request.of(**{key: options[key] for key in options if key not in ("sep", "encoding")})
        proposal = propose(path, request, options["sep"], options["encoding"])
        if not proposal.questions:
            break
        if not on_terminal:
            raise_open(proposal.questions, path)
        show_proposal(proposal, console)
        question = proposal.questions[0]
        options = _with_answer(options, question, ask(question, console))
    show_proposal(proposal, console)
    if not yes:
        if not on_terminal:
            flags = " ".join(proposal.flags)
            raise TaskError(
                f"{path}: the proposal above is not confirmed. Write `--yes`, or name what you mean: `{flags}`."
            )
        if console.input("Make this task? \\[Y/n] ").strip().lower() not in ("", "y", "yes"):
            raise TaskError(f"{path}: no task was made. Name what you mean, for example `{' '.join(proposal.flags)}`.")
    return options | {
        "target": proposal.request.targets,
        "metric": proposal.request.metric,
        # Row ids are left out in any case.
        "drop": tuple(name for name, reason in proposal.left_out.items() if reason != ROW_IDS),
    }


def has_terminal(console: Console) -> bool:
    """Whether somebody can read questions and answer them."""
    return console.is_terminal and sys.stdin.isatty()


def ask(question: Question, console: Console) -> int:
    """The number of the chosen answer, which is asked for until it is one."""
    console.print(printable(question.text), markup=False, style="bold")
    for number, choice in enumerate(question.choices, 1):
        line = printable(f"  {number}  {choice.label}  ({choice.flags})")
        console.print(line, markup=False, highlight=False)
    while True:
        answer = console.input(f"1 to {len(question.choices)}: ").strip()
        if answer.isdecimal() and 1 <= int(answer) <= len(question.choices):
            return int(answer) - 1


def show_proposal(proposal: Proposal, console: Console) -> None:
    """Columns of the table, and what is to be done with them."""
    request = proposal.request
    table = Table("column", "holds", "different", "missing", "use")
    # A target is often the last column of a wide table, and it is the one to confirm.
    shown = [
        column
        for place, column in enumerate(proposal.columns)
        if place < SHOWN_COLUMNS or column.name in request.targets
    ]
    for column in shown:
        use = "target" if column.name in request.targets else "feature"
        if column.name in proposal.left_out:
            use = f"left out: {proposal.left_out[column.name]}"
        elif column.name == proposal.origin.image_column:
            use = "image"
        missing = f"{column.missing / column.rows:.0%}" if column.missing else ""
        name, use = escape(printable(column.name)), escape(printable(use))
        table.add_row(name, column.kind.value, str(column.distinct), missing, use)
    console.print(table)
    if hidden := len(proposal.columns) - len(shown):
        console.print(f"and {hidden} more column{'s' if hidden > 1 else ''}")
    for name, value in (
        ("rows", str(len(proposal.origin.frame))),
        ("target", ", ".join(request.targets) or "?"),
        ("metric", request.metric or "?"),
        ("split", str(request.split or "random")),
    ):
        reason = f" ({proposal.reasons[name]})" if proposal.reasons.get(name) else ""
        console.print(printable(f"{name}: {value}{reason}"), markup=False, highlight=False, soft_wrap=True)
    for note in (*proposal.origin.notes, *proposal.notes):
        console.print(printable(note), markup=False, highlight=False, soft_wrap=True)


def _with_answer(options: dict[str, Any], question: Question, answer: int) -> dict[str, Any]:
    changed = dict(options)
    for name, value in question.choices[answer].options.items():
        changed[name] = (*changed[name], *value) if isinstance(value, tuple) else value
    return changed
