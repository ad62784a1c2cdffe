"""Why attempts failed, in classes that can be counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from trl_mle.prompts.quoting import clean_output
from trl_mle.solve.attempts import Attempt

LONGEST = 160
"""Characters of a reason."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning)\b.*|^KeyError.*")
NO_PROGRAM = {
    "truncated": "no program: the completion was cut off (raise `--max-tokens`)",
}


def reason_of(attempt: Attempt) -> str:
    """Why an attempt is not valid, on one line; an empty text if it is."""
    outcome, facts = attempt.outcome, attempt.facts
    if outcome.kind == "valid":
        return facts.refused or "" if facts else ""
    if outcome.kind == "fault":
        return f"infrastructure: {_line(outcome.fault or 'unknown')}"
    if outcome.extraction_reason is not None:
        if facts is not None and facts.truncated:
            return NO_PROGRAM["truncated"]
        return f"no program: {outcome.extraction_reason.replace('_', ' ')}"
    if outcome.kind == "timeout":
        return "out of time"
    execution = outcome.execution
    if execution is not None and execution.status in ("memory", "output", "killed"):
        return {"memory": "out of memory", "output": "too much output", "killed": "killed"}[execution.status]
    if execution is not None and execution.status == "error":
        return _error(execution.stderr)
    if outcome.public is not None and outcome.public.reason:
        return f"invalid submission: {_line(outcome.public.reason)}"
    return "invalid submission"


def commonest(attempts: Iterable[Attempt], most: int = 5) -> list[tuple[str, int]]:
    """The commonest reasons with their counts. Reasons that differ in numbers alone are one, in the words of the first."""
    counts: Counter[str] = Counter()
    words: dict[str, str] = {}
    for attempt in attempts:
        reason = reason_of(attempt)
        if reason:
            key = _NUMBER.sub("#", reason)
            counts[key] += 1
            words.setdefault(key, reason)
    return [(words[key], count) for key, count in counts.most_common(most)]


def _error(stderr: str) -> str:
    """The last line of a traceback that names an exception."""
    lines = [line.strip() for line in clean_output(stderr, 4000).split("\n") if line.strip()]
    named = [line for line in lines if _EXCEPTION.match(line)]
    return _line((named or lines or ["the program ended with an error"])[-1])


def _line(text: str) -> str:
    line = " ".join(clean_output(text, LONGEST).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 4] + " ..."
