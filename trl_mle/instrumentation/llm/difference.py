"""Difference between a program that a model copied and the original, as text."""

from __future__ import annotations

import ast

from trl_mle.instrumentation import fallbacks
from trl_mle.instrumentation.analysis.budget import walk
from trl_mle.instrumentation.verify import first_difference


def describe_difference(original: ast.Module, written: ast.Module) -> tuple[str, str] | None:
    """(Kind of `fallbacks.LLM_KINDS`, words) for the first difference, or `None` where the trees are equal."""
    difference = first_difference(original, written)
    if difference is None:
        return None
    fewer = _statements(written) - _statements(original)
    if fewer == 0:
        return fallbacks.CODE_CHANGED, f"changed code {difference}"
    line = _line_of_first_difference(original, written)
    if fewer < 0:
        return fallbacks.CODE_DELETED, f"deleted code near line {line}"
    return fallbacks.CODE_ADDED, f"added code near line {line}"


def _statements(tree: ast.AST) -> int:
    return sum(isinstance(node, ast.stmt) for node in walk(tree))


def _line_of_first_difference(original: ast.AST, written: ast.AST) -> int:
    """Line of the original where the first statement differs, as deep inside as it can be told."""
    line = 1
    while True:
        for one, other in _suites(original, written):
            pairs = zip(one, other, strict=False)
            first = next((pair for pair in pairs if first_difference(*pair) is not None), None)
            if first is not None:
                original, written = first
                line = original.lineno
                break
            if len(one) != len(other):
                shorter = min(len(one), len(other))
                return one[shorter].lineno if len(one) > shorter else (one[-1].end_lineno or line) if one else line
        else:
            return line


def _suites(one: ast.AST, other: ast.AST) -> list[tuple[list[ast.stmt], list[ast.stmt]]]:
    if type(one) is not type(other):
        return []
    pairs = []
    for field in one._fields:
        left, right = getattr(one, field, None), getattr(other, field, None)
        if isinstance(left, list) and isinstance(right, list):
            if any(isinstance(item, ast.stmt) for item in (*left, *right)):
                pairs.append((left, right))
            else:
                parts = (pair for pair in zip(left, right, strict=False) if isinstance(pair[0], ast.AST))
                for a, b in parts:
                    pairs += _suites(a, b) if isinstance(a, (ast.ExceptHandler, ast.match_case)) else []
    return pairs
