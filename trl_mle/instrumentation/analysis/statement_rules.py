"""Statement rules: what a simple statement reaches beyond its expressions. Features by assignment, steps of training."""

from __future__ import annotations

import ast
import builtins

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import walk
from trl_mle.instrumentation.analysis.milestone_rules import FITTED, MilestoneRules, has_content
from trl_mle.instrumentation.analysis.state import State, Step, reached
from trl_mle.types import Milestone


def after_simple_statement(rules: MilestoneRules, node: ast.stmt, state: State) -> State:
    """`state` after the simple statement `node`."""
    state |= rules.of(node)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
        state |= rules.of_generator(node.value)  # unpacking runs it
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and any(
        _builds_features(rules, target, node.value) for target in targets if node.value is not None
    ):
        state |= reached(Milestone.BUILT_FEATURES)
    # `train[columns] /= 255` changes the data, whatever is on the right.
    if isinstance(node, ast.AugAssign) and _is_part_of_data(rules, node.target):
        state |= reached(Milestone.BUILT_FEATURES)
    # A scheduler steps too. After gradients were computed, the step is taken to be the optimizer's.
    if Step.BACKWARD in state.steps and _calls_step(node):
        state |= FITTED
    if _descends(node):
        state |= FITTED
    return state


def _builds_features(rules: MilestoneRules, target: ast.expr, value: ast.expr) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        same = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
        values = value.elts if same else [value] * len(target.elts)  # type: ignore[attr-defined]
        return any(_builds_features(rules, *pair) for pair in zip(target.elts, values, strict=True))
    if isinstance(target, ast.Name):
        return vocabulary.FEATURE_NAME.fullmatch(target.id) is not None and has_content(value)
    if isinstance(target, ast.Attribute):
        return vocabulary.FEATURE_NAME.fullmatch(target.attr) is not None and has_content(value)
    # `test["y"] = model.predict(test)` stores predictions, and `train.loc[3, "a"] = 0` sets a value.
    predicts = any(_called(inner).startswith("predict") for inner in walk(value))
    return _is_part_of_data(rules, target) and not predicts and _refers_to_values(rules, value)


def _is_part_of_data(rules: MilestoneRules, target: ast.expr) -> bool:
    """Whether `target` is a column or another part of loaded data: `train["a"]`, `train.loc[rows, "a"]`."""
    if not isinstance(target, ast.Subscript) or not isinstance(target.value, (ast.Name, ast.Attribute)):
        return False
    return rules.values.is_data(target.value)


def _refers_to_values(rules: MilestoneRules, value: ast.expr) -> bool:
    """Whether `value` is made from a variable of the program. `0`, `np.nan` and `float("nan")` are not."""
    names = {inner.id for inner in walk(value) if isinstance(inner, ast.Name)}
    return any(name not in rules.symbols.imports and not hasattr(builtins, name) for name in names)


def _called(node: ast.AST) -> str:
    if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
        return node.func.id if isinstance(node.func, ast.Name) else node.func.attr
    return ""


def _calls_step(node: ast.stmt) -> bool:
    return any(_called(inner) == "step" for inner in walk(node))


def _descends(node: ast.stmt) -> bool:
    """Whether `node` is a hand-written gradient step: `w -= lr * grad` or `w = w - lr * grad`."""
    match node:
        case ast.AugAssign(op=ast.Sub(), value=step):
            pass
        case ast.Assign(value=ast.BinOp(op=ast.Sub(), right=step)):
            pass
        case _:
            return False
    names = {inner.id.lower() for inner in walk(step) if isinstance(inner, ast.Name)}
    # A learning rate alone is not enough: `total -= rate * price` trains nothing. `dw` and `d_loss` are gradients.
    rate = names & {"lr", "learning_rate", "alpha", "eta", "step_size", "rate"}
    return bool(rate) and any("grad" in name or name.startswith("d") for name in names - rate)
