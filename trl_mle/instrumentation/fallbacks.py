"""Fallback kinds: short identifiers of why a program was not instrumented as requested. They are counted in metrics."""

from __future__ import annotations

from trl_mle.types import InstrumentedProgram, Program

NOT_PARSED = "not_parsed"
HAS_MARKS = "has_marks"
HAZARD = "hazard"
NO_MILESTONE = "no_milestone"
NOT_VERIFIED = "not_verified"
TOO_COMPLEX = "too_complex"
"""The analysis would take more steps than its budget has."""
FAILED = "instrumenter_failed"
"""The instrumenter raised: a bug of this package, or of the user's instrumenter."""
AST_KINDS = (NOT_PARSED, HAS_MARKS, HAZARD, NO_MILESTONE, NOT_VERIFIED, TOO_COMPLEX, FAILED)
"""`ASTInstrumenter` inserted nothing: the program runs as it is."""

UNAVAILABLE = "llm_unavailable"
"""The endpoint is down, overloaded, or refuses key or model."""
TIMEOUT = "llm_timeout"
"""No answer came in time."""
REFUSED = "llm_refused"
"""The endpoint refused this one request (a 400: the program is longer than the model's context)."""
TOO_LONG = "llm_too_long"
"""The program is too long to be sent."""
TRUNCATED = "llm_truncated"
"""The answer stops in the middle, or is far too long."""
NOT_AN_ANSWER = "llm_not_an_answer"
"""The answer does not have the requested form."""
UNKNOWN_MARK = "llm_unknown_mark"
"""The answer names a milestone, metric or line that does not exist."""
CODE_DELETED = "llm_code_deleted"
CODE_ADDED = "llm_code_added"
CODE_CHANGED = "llm_code_changed"
NOTHING_PROVED = "llm_nothing_proved"
"""The answer claims nothing, or nothing that could be verified."""
UNVERIFIABLE = "llm_too_complex"
"""To verify the answer would take more steps than the budget of the analysis has."""
ERROR = "llm_error"
"""A bug in this package."""
LLM_KINDS = (
    UNAVAILABLE, TIMEOUT, REFUSED, TOO_LONG, TRUNCATED, NOT_AN_ANSWER, UNKNOWN_MARK, CODE_DELETED, CODE_ADDED,
    CODE_CHANGED, NOTHING_PROVED, UNVERIFIABLE, ERROR,
)  # fmt: skip
"""The model failed: `ASTInstrumenter` instrumented the program."""

FALLBACK_KINDS = AST_KINDS + LLM_KINDS


def uninstrumented(program: Program, nonce: str, kind: str, reason: str) -> InstrumentedProgram:
    """`program` as it is, counted under `kind`."""
    return InstrumentedProgram(program.code, program, nonce, (), reason, kind)
