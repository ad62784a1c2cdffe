"""Proof that instrumentation inserted prints of marks and changed nothing else.

Both programs are parsed. Every statement that is exactly the print of a mark or the report of a metric with the nonce of
this run is removed. A report that could raise is refused (`analysis.bound_variables`). The trees must then be equal node
by node, including docstrings, decorators and constants with their types. The comparison is iterative, so no nesting is
too deep for it. It needs no text of the tree, so no constant is too large.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from trl_mle.instrumentation.analysis.bound_variables import BoundVariables, metric_hazard
from trl_mle.instrumentation.analysis.budget import walk
from trl_mle.instrumentation.analysis.name_bindings import needs_robust_print
from trl_mle.instrumentation.mark_statements import as_metric, mark_dumps
from trl_mle.instrumentation.marks import MARK_PREFIX
from trl_mle.parsing import parse_quietly
from trl_mle.types import MILESTONES, PROGRAM_METRICS, Milestone

_COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_ASCII_BELOW_128 = re.compile(r"utf-?8(?:-.*)?|(?:us-?)?ascii|latin-?[19]|iso-?8859-?\d+|(?:cp|windows-?)125\d")
"""Encodings in which the bytes of ASCII are ASCII, wherever they stand."""
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Verdict(NamedTuple):
    """What `verify_print_only` found."""

    reason: str | None
    """Why the programs differ in more than marks; `None` if they do not."""
    inserted: tuple[Milestone, ...]
    """Milestones for which a mark was inserted, in the order of `MILESTONES`; empty with a reason."""
    metrics: tuple[str, ...] = ()
    """Metrics for which a report was inserted, in the order of `PROGRAM_METRICS`; empty with a reason."""

    @property
    def ok(self) -> bool:
        """Whether the instrumented program is the original one plus marks."""
        return self.reason is None


def parse(code: str) -> ast.Module:
    """The syntax tree of `code`, without a byte-order mark at its start.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse` does.
    """
    return parse_quietly(code.removeprefix("\ufeff"))


def verify_print_only(original_code: str, instrumented_code: str, nonce: str) -> Verdict:
    """Whether `instrumented_code` is `original_code` with printed marks and nothing else.

    Args:
        original_code (`str`):
            The policy's program.
        instrumented_code (`str`):
            The result of an instrumenter.
        nonce (`str`):
            The secret of the run. A mark with another nonce is a foreign statement.
    """
    if original_code == instrumented_code:
        return Verdict(None, ())
    if MARK_PREFIX in original_code:
        return Verdict("the original program already contains marks", ())
    if encoding_of(original_code) != encoding_of(instrumented_code):
        return Verdict("the encoding declaration differs", ())
    cookie = encoding_of(original_code)[1]
    if cookie is not None and _ASCII_BELOW_128.fullmatch(cookie.replace("_", "-")) is None:
        # `# coding: unicode_escape` makes lines of what stands in a string here: another text runs than is parsed.
        return Verdict("the encoding declaration gives the program another text", ())
    try:
        original, instrumented = parse(original_code), parse(instrumented_code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Verdict(f"a program does not parse: {type(error).__name__}: {error}", ())
    if misplaced := _misplaced(instrumented, nonce):
        return Verdict(misplaced, ())
    if unsafe := _unsafe_report(original, instrumented, nonce):
        return Verdict(unsafe, ())
    reports = {report[0] for node in walk(instrumented) if (report := as_metric(node, nonce)) is not None}
    marks = remove_marks(instrumented, nonce)
    if any(not robust for _, robust in marks) and needs_robust_print(original):
        return Verdict("a mark relies on `print` or `sys.stdout`, which the program replaces", ())
    if difference := first_difference(original, instrumented):
        return Verdict(difference, ())
    seen = {milestone for milestone, _ in marks}
    return Verdict(
        None,
        tuple(milestone for milestone in MILESTONES if milestone in seen),
        tuple(metric for metric in PROGRAM_METRICS if metric in reports),
    )


def _unsafe_report(original: ast.Module, instrumented: ast.Module, nonce: str) -> str | None:
    """Why a metric that `instrumented` reports might change what the program does, or `None`."""
    reports = [(node, report) for node in walk(instrumented) if (report := as_metric(node, nonce)) is not None]
    if not reports:
        return None
    if hazard := metric_hazard(original):
        return hazard
    variables = BoundVariables(instrumented)
    for node, (metric, variable) in reports:
        if variable not in variables.after(node):  # type: ignore[arg-type]  # `as_metric` finds statements only
            return f"`{metric}` reads `{variable}`, which may not be bound there"
    return None


def remove_marks(tree: ast.AST, nonce: str) -> list[tuple[str, bool]]:
    """Remove every mark and report of `nonce` from `tree`, in place. Returns (milestone, robust spelling) per mark."""
    allowed = mark_dumps(nonce)
    removed = []
    for node in walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and any(isinstance(item, ast.stmt) for item in value):
                removed += [inserted for item in value if (inserted := _as_mark(item, allowed)) is not None]
                value[:] = [item for item in value if not _is_inserted(item, allowed, nonce)]
    return removed


def first_difference(left: ast.AST, right: ast.AST) -> str | None:
    """The first difference between two trees, except positions and type comments; `None` if they are equal."""
    stack: list[tuple[object, object, int]] = [(left, right, 0)]
    while stack:
        a, b, line = stack.pop()
        if type(a) is not type(b):
            return f"near line {line}: {_name(a)} became {_name(b)}"
        if isinstance(a, ast.AST) and isinstance(b, ast.AST):
            line = getattr(a, "lineno", line)
            for field in reversed(a._fields):
                if field != "type_comment":
                    stack.append((getattr(a, field, None), getattr(b, field, None), line))
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return f"near line {line}: {len(a)} elements became {len(b)}"
            stack += [(*pair, line) for pair in reversed(list(zip(a, b, strict=True)))]
        elif a != b:
            return f"near line {line}: {_short(a)} became {_short(b)}"
    return None


def _as_mark(node: object, allowed: dict[str, tuple[str, bool]]) -> tuple[str, bool] | None:
    match node:
        case ast.Expr(value=ast.Call(args=[ast.Constant(value=str(text))])) if text.startswith(MARK_PREFIX):
            try:
                return allowed.get(ast.dump(node))
            except (ValueError, RecursionError):  # no mark holds such constants or nesting
                return None
    return None


def _is_inserted(node: object, allowed: dict[str, tuple[str, bool]], nonce: str) -> bool:
    return _as_mark(node, allowed) is not None or as_metric(node, nonce) is not None


def _misplaced(tree: ast.Module, nonce: str) -> str | None:
    """A mark where it would change the program although the tree without it is the same."""
    allowed = mark_dumps(nonce)
    for node in walk(tree):
        if isinstance(node, _DOCUMENTED):
            rest = [item for item in node.body if not _is_inserted(item, allowed, nonce)]
            if rest and rest[0] is not node.body[0] and _is_docstring(rest[0]):
                return "a mark stands before a docstring"
    marks_seen = False
    for item in tree.body:
        marks_seen = marks_seen or _is_inserted(item, allowed, nonce)
        if marks_seen and isinstance(item, ast.ImportFrom) and item.module == "__future__":
            return "a mark stands before `from __future__ import`"
    return None


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def encoding_of(code: str) -> tuple[bool, str | None]:
    """Byte-order mark and coding cookie (PEP 263). The tree lacks both."""
    lines = re.split(r"\r\n|\r|\n", code.removeprefix("\ufeff"), maxsplit=2)[:2]
    for line in lines:
        if cookie := _COOKIE.match(line):
            return code.startswith("\ufeff"), cookie[1].lower()
        if line.split("#")[0].strip(" \t\f"):
            break
    return code.startswith("\ufeff"), None


def _name(value: object) -> str:
    return f"`{type(value).__name__}`"


def _short(value: object) -> str:
    return (hex(value) if isinstance(value, int) else repr(value))[:40]
