"""Hindsight: a program that failed is a demonstration for a nearer goal that it reached.

Hindsight experience replay (Andrychowicz et al., arXiv 1707.01495) relabels a failed episode with a goal that it did reach.
ECHO (Hu et al., arXiv 2510.10304) does so for language-model agents. Here the goals are milestones: a program that trained a
model and then failed shows how to load the data and train a model.

A demonstration must not hold what failed. So the program is cut: only top-level statements that ended before the failing line are
kept, and of those no more than the goal needs. A goal counts as reached if the run reached its milestones *and* the statements
that are left contain them. Programs whose failing line is unknown (a time-out, an end in C) and programs that do everything in one
function are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from trl_mle.experience.demonstrations import Demonstration, Messages, completion_of
from trl_mle.instrumentation import ASTInstrumenter, new_nonce
from trl_mle.parsing import parse_quietly
from trl_mle.types import Milestone, Outcome, Program

HINDSIGHT = "hindsight"
"""Kind of prompt of these demonstrations."""
GOALS: dict[Milestone, tuple[frozenset[Milestone], str]] = {
    Milestone.EVALUATED_MODEL: (
        frozenset({Milestone.LOADED_DATA, Milestone.TRAINED_MODEL, Milestone.EVALUATED_MODEL}),
        "loads the data, trains a model and computes its score on held-out rows",
    ),
    Milestone.TRAINED_MODEL: (
        frozenset({Milestone.LOADED_DATA, Milestone.TRAINED_MODEL}),
        "loads the data and trains a model",
    ),
    Milestone.BUILT_FEATURES: (
        frozenset({Milestone.LOADED_DATA, Milestone.BUILT_FEATURES}),
        "loads the data and builds the inputs of a model",
    ),
    Milestone.LOADED_DATA: (frozenset({Milestone.LOADED_DATA}), "loads the data"),
}
"""Goal -> milestones that it needs, and its words in the prompt. The hardest goal stands first."""
MAX_CHARACTERS = 50_000
"""Longest program that is cut. Each cut that is tried is analysed anew."""

_LINE = re.compile(r'^  File "(?:[^"\n]*/)?main\.py", line (\d{1,6})(?:, in <module>)?$', re.MULTILINE)


def goal_prompt(prompt: Messages, goal: Milestone) -> Messages:
    """`prompt` of the whole task, with a last section that asks for the part `goal` alone."""
    *before, last = prompt
    section = (
        "# Only a part\n"
        f"Here only a part is asked for: a program that {GOALS[goal][1]}, ends there without an error and does nothing else. "
        "It writes no submission.csv."
    )
    return [*before, {**last, "content": f"{last['content']}\n\n{section}"}]


def reached_goal(outcome: Outcome, least: Milestone = Milestone.TRAINED_MODEL) -> tuple[Milestone, Program] | None:
    """The hardest goal that a failed program reached, and the part of the program that shows how; `None` if there is none.

    Args:
        outcome ([`Outcome`]):
            Any outcome. Only a failure whose program ran has something to show.
        least (`Milestone`, *optional*, defaults to `trained_model`):
            The easiest goal that is worth showing.
    """
    program, execution = outcome.program, outcome.execution
    if outcome.kind != "failure" or program is None or execution is None or len(program.code) > MAX_CHARACTERS:
        return None
    lines = program.code.split("\n")
    if execution.status == "error":
        found = _LINE.findall(execution.stderr)
        failing = int(found[-1]) if found else 0
    else:  # it ended by itself, without a usable submission
        failing = len(lines) + 1 if execution.status == "ok" else 0
    # Lines are counted as Python does, and `extract_program` leaves one kind of line end alone.
    ends = [] if "\r" in program.code else _ends(program.code, failing)
    for goal, (needed, _) in GOALS.items():
        if needed <= set(execution.milestones) and (cut := _shortest(program, ends, needed)) is not None:
            return goal, cut
        if goal == least:
            break
    return None


def hindsight_demonstration(
    outcome: Outcome, prompt_of: Callable[[str], Messages], least: Milestone = Milestone.TRAINED_MODEL
) -> Demonstration | None:
    """The demonstration that a failed program is, or `None`.

    Args:
        outcome ([`Outcome`]):
            Any outcome.
        prompt_of (callable):
            Task id -> the task's prompt from scratch.
        least (`Milestone`, *optional*, defaults to `trained_model`):
            The easiest goal that is worth showing.
    """
    found = reached_goal(outcome, least)
    completion = completion_of(found[1]) if found else None
    if found is None or completion is None:
        return None
    prompt = goal_prompt(prompt_of(outcome.task_id), found[0])
    # Harder goals are worth more; rewards of valid programs have no part in it.
    value = float(len(GOALS[found[0]][0]))
    return Demonstration(outcome.task_id, HINDSIGHT, prompt, completion, value)


def _ends(code: str, failing: int) -> list[int]:
    """Last lines, from 1, of the top-level statements that ended before line `failing`."""
    try:
        body = parse_quietly(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    ends = [statement.end_lineno or 0 for statement in body]
    starts = [*(statement.lineno for statement in body[1:]), len(code) + 2]
    # A statement that ends on the line where the next one begins would take that one along.
    return [end for end, start in zip(ends, starts, strict=False) if end < failing and end < start]


def _shortest(program: Program, ends: list[int], needed: frozenset[Milestone]) -> Program | None:
    """`program` up to the first of the lines `ends` by which it contains the milestones `needed`."""
    low, high = 0, len(ends) - 1
    if high < 0 or not needed <= _contained(_cut(program, ends[high])):
        return None
    while low < high:
        middle = (low + high) // 2
        if needed <= _contained(_cut(program, ends[middle])):
            high = middle
        else:
            low = middle + 1
    return _cut(program, ends[high])


def _cut(program: Program, end: int) -> Program:
    return Program(program.plan, "\n".join(program.code.split("\n")[:end]) + "\n")


def _contained(program: Program) -> frozenset[Milestone]:
    """Milestones that the instrumenter finds in `program`."""
    return frozenset(ASTInstrumenter().instrument(program, new_nonce()).inserted)
