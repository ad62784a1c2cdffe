"""What simple statements achieve beyond their expressions: features by assignment, steps of a training loop."""

from __future__ import annotations

import ast
import builtins

from trl_mle.instrumentation.analysis import vocabulary as words
from trl_mle.instrumentation.analysis.milestone_rules import FEATURES, FITTED, Achieved, Events, has_content


def simple_events(events: Events, node: ast.stmt, state: Achieved) -> Achieved:
    """`state` after the simple statement `node`."""
    state |= events.of(node)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
        state |= events.of_generator(node.value)  # unpacking runs it
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and any(
        _builds_features(events, target, node.value) for target in targets if node.value is not None
    ):
        state |= {FEATURES}
    if isinstance(node, ast.AugAssign) and _is_part_of_data(events, node.target):
        state |= {FEATURES}
    if "~backward" in state and _calls_step(node):
        state |= FITTED
    if _descends(node):
        state |= FITTED
    return state


def _builds_features(events: Events, target: ast.expr, value: ast.expr) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        same = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
        values = value.elts if same else [value] * len(target.elts)  # type: ignore[attr-defined]
        return any(_builds_features(events, *pair) for pair in zip(target.elts, values, strict=True))
    if isinstance(target, ast.Name):
        return words.FEATURE_NAME.fullmatch(target.id) is not None and has_content(value)
    if isinstance(target, ast.Attribute):
        return words.FEATURE_NAME.fullmatch(target.attr) is not None and has_content(value)
    predicts = any(_called(inner).startswith("predict") for inner in ast.walk(value))
    return _is_part_of_data(events, target) and not predicts and _refers_to_values(events, value)


def _is_part_of_data(events: Events, target: ast.expr) -> bool:
    """Whether `target` is a column or another part of loaded data: `train["a"]`, `train.loc[rows, "a"]`."""
    if not isinstance(target, ast.Subscript) or not isinstance(target.value, (ast.Name, ast.Attribute)):
        return False
    return events.kinds.is_data(target.value)


def _refers_to_values(events: Events, value: ast.expr) -> bool:
    """Whether `value` is made from something of the program's own: not `0`, `np.nan` or `float("nan")`."""
    names = {inner.id for inner in ast.walk(value) if isinstance(inner, ast.Name)}
    return any(name not in events.facts.imports and not hasattr(builtins, name) for name in names)


def _called(node: ast.AST) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
        return node.func.id if isinstance(node.func, ast.Name) else node.func.attr
    return ""


def _calls_step(node: ast.stmt) -> bool:
    return any(_called(inner) == "step" for inner in ast.walk(node))


def _descends(node: ast.stmt) -> bool:
    """Whether `node` is a hand-written gradient step: `w -= lr * grad` or `w = w - lr * grad`."""
    match node:
        case ast.AugAssign(op=ast.Sub(), value=step):
            pass
        case ast.Assign(value=ast.BinOp(op=ast.Sub(), right=step)):
            pass
        case _:
            return False
    names = {inner.id.lower() for inner in ast.walk(step) if isinstance(inner, ast.Name)}
    rate = names & {"lr", "learning_rate", "alpha", "eta", "step_size", "rate"}
    return bool(rate) and any("grad" in name or name.startswith("d") for name in names - rate)
