"""Instrumentation: a program becomes one that prints a mark at each milestone. Nothing else is changed."""

from trl_mle.instrumentation.ast_instrumenter import ASTInstrumenter
from trl_mle.instrumentation.base import Instrumenter, as_instrumenter
from trl_mle.instrumentation.llm import LLMInstrumenter
from trl_mle.instrumentation.marks import mark, new_nonce, parse_metrics, parse_milestones, strip_marks
from trl_mle.instrumentation.verify import Verdict, verify_print_only

__all__ = [
    "ASTInstrumenter",
    "Instrumenter",
    "LLMInstrumenter",
    "Verdict",
    "as_instrumenter",
    "mark",
    "new_nonce",
    "parse_metrics",
    "parse_milestones",
    "strip_marks",
    "verify_print_only",
]
