"""What simple statements achieve beyond their expressions: features by assignment, steps of a training loop."""

from __future__ import annotations

import ast

from trl_mle.instrumentation import vocabulary as words
from trl_mle.instrumentation.events import DEFINED, FEATURES, TRAINED, Achieved, Events


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
    if "~backward" in state and _calls_step(node):
        state |= {TRAINED, DEFINED}
    if _descends(node):
        state |= {TRAINED, DEFINED}
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
    if isinstance(target, ast.Subscript) and isinstance(target.value, (ast.Name, ast.Attribute)):
        predicts = any(_called(inner).startswith("predict") for inner in ast.walk(value))
        return events.kinds.is_data(target.value) and not predicts and not isinstance(value, ast.Constant)
    return False


def has_content(value: ast.expr) -> bool:
    """Whether a value is more than an empty container, a constant or a file that was only read."""
    match value:
        case ast.Constant() | ast.Lambda():
            return False
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return any(has_content(part) or isinstance(part, ast.Constant) for part in parts)
        case ast.Dict(keys=keys):
            return bool(keys)
        case ast.Call(args=[], keywords=[], func=ast.Name(id="list" | "dict" | "set")):
            return False
        case ast.Call() if _called(value) in words.READERS:
            return False
    return True


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
