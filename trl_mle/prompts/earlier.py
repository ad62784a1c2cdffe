"""`EarlierSolution`: what a prompt shows of an earlier outcome of its task, and how it is made shorter."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trl_mle.errors import ConfigError, ParentNotShownError
from trl_mle.prompts.quoting import (
    clean_code,
    clean_output,
    fenced,
    keep_end,
    keep_ends,
    keep_start,
    own_traceback,
    with_note,
    without_comments,
    without_marks,
)
from trl_mle.prompts.table_summary import clean
from trl_mle.types import PROGRAM_METRICS, Execution, Outcome, PromptKind, TaskSpec

MAX_PLAN = 1000
"""Longest plan that is shown, in characters."""
MAX_OUTPUT = 2000
"""Longest output that is shown, in characters."""
MAX_REASON = 300
"""Longest reason why a submission is invalid, in characters."""
ERROR_KEPT = 200
"""Characters of the end of an error that no token budget cuts."""

_STOPPED = {
    "memory": "It was stopped because it used more memory than it may.",
    "output": "It was stopped because it printed more than it may.",
    "killed": "It was killed.",
}


@dataclass(frozen=True)
class EarlierSolution:
    """An earlier solution as a prompt shows it. Texts are clean, but not yet escaped."""

    kind: PromptKind
    """`improve` for a valid solution, `debug` for any other."""
    facts: tuple[str, ...]
    """Sentences about its result, one per line."""
    plan: str
    code: str
    output: str
    """What it printed, or its error output."""
    is_error: bool
    """Whether `output` is the error output."""

    @property
    def least_output(self) -> int:
        """Characters of `output` that every prompt shows."""
        return with_note(ERROR_KEPT, self.output) if self.is_error else 0

    def with_output(self, characters: int) -> EarlierSolution:
        """With at most so many characters of output: both ends of what it printed, the end of an error."""
        if self.is_error:
            return replace(self, output=keep_end(self.output, characters, ERROR_KEPT))
        return replace(self, output=keep_ends(self.output, characters))

    def with_plan(self, characters: int) -> EarlierSolution:
        """With at most so many characters of the plan: its start."""
        return replace(self, plan=keep_start(self.plan, characters))

    def without_comments(self) -> EarlierSolution:
        """With a program that has neither comments nor blank lines."""
        return replace(self, code=without_comments(self.code))

    def values(self) -> dict[str, object]:
        """The variables of `templates/earlier.j2`."""
        return {
            "facts": self.facts,
            "plan": fenced(self.plan, "text") if self.plan else "",
            "code": fenced(self.code, "python"),
            "output": fenced(self.output, "text") if self.output else "",
            "is_error": self.is_error,
        }


def prompt_kind(parent: Outcome | None) -> PromptKind:
    """The kind of the prompt that [`build_prompt`] makes of `parent`."""
    return "scratch" if parent is None else "improve" if parent.kind == "valid" else "debug"


def show(task: TaskSpec, parent: Outcome, metric: str) -> EarlierSolution:
    """What a prompt shows of `parent`. `metric` is the name of the task's metric in words.

    Raises:
        ConfigError: `parent` is an outcome of another task.
        ParentNotShownError: there is no program, or nothing is known about it.
    """
    if parent.task_id != task.id:
        raise ConfigError(f"`parent` is an outcome of the task {parent.task_id!r}, but the prompt is for {task.id!r}.")
    if parent.kind == "fault":
        raise ParentNotShownError("The earlier program was lost to an infrastructure fault.")
    if parent.program is None or not parent.program.code.strip():
        raise ParentNotShownError(f"The earlier completion holds no program ({parent.extraction_reason}).")
    execution = parent.execution
    error = ""
    # A program that was stopped, or whose submission is invalid, has no error: its error output holds warnings.
    if parent.kind != "valid" and execution is not None and execution.status == "error":
        error = own_traceback(clean_output(execution.stderr, MAX_OUTPUT))
    output = error or (clean_output(execution.stdout, MAX_OUTPUT) if execution else "")
    return EarlierSolution(
        kind=prompt_kind(parent),
        facts=tuple(_facts(task, parent, metric)),
        plan=keep_start(clean_output(parent.program.plan, MAX_PLAN), MAX_PLAN),
        code=clean_code(parent.program.code),
        output=(keep_end if error else keep_ends)(output, MAX_OUTPUT),
        is_error=bool(error),
    )


def _facts(task: TaskSpec, parent: Outcome, metric: str) -> list[str]:
    """Result, time and reported metrics. The private score is no part of them."""
    better = "higher" if task.direction == "maximize" else "lower"
    if parent.kind == "valid":
        score = parent.public.score if parent.public else None
        facts = ["It is valid." if score is None else f"Its score: {score:.6g} ({metric}; {better} is better)."]
    else:
        facts = [failure_sentence(parent)]
    seconds = parent.duration_s
    if seconds is not None and math.isfinite(seconds):
        facts.append(f"It ran {rounded_seconds(seconds)} s of at most {task.time_limit_s:g} s.")
    if parent.execution is not None:
        facts += reported_metrics(parent.execution)
    return facts


def failure_sentence(parent: Outcome) -> str:
    """Why an outcome is not valid, as a prompt says it."""
    execution = parent.execution
    if parent.kind == "timeout":
        return "It failed. It was stopped at its time limit."
    if execution is None:
        return "It failed."
    if execution.status in _STOPPED:
        return f"It failed. {_STOPPED[execution.status]}"
    if execution.status == "error":
        return f"It failed. It ended with an error (exit code {execution.exit_code})."
    reason = parent.public.reason if parent.public else execution.submission_reason
    return (
        f"It failed. Its submission is not valid: {without_marks(clean(reason, MAX_REASON))}."
        if reason
        else "It failed."
    )


def reported_metrics(execution: Execution) -> list[str]:
    """The sentence about the named metrics that a program printed; empty if there are none."""
    values = {name: execution.metrics[name] for name in PROGRAM_METRICS if name in execution.metrics}
    reported = ", ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in values.items())
    return [f"It reported: {reported}."] if reported else []


def rounded_seconds(seconds: float) -> str:
    """`seconds` with about three digits."""
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"
