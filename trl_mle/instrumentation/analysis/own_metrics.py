"""Metrics of the program's own: an average of what compares predictions with the answers of held-out data."""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.symbols import Symbols
from trl_mle.instrumentation.analysis.values import Values

_VALUES = 8
"""Values of a variable that are looked at for a comparison."""


class OwnMetrics:
    """Judges the averages of one program."""

    def __init__(self, symbols: Symbols, values: Values):
        self.symbols = symbols
        self.values = values

    def averages(self, inner: ast.expr | None) -> bool:
        """Whether the average of `inner` is a score on held-out data: `np.mean(p == y_val)`, `((p - y_val) ** 2).mean()`."""
        for node in walk(inner) if inner is not None else ():
            if self._compares_with_answers(node) or (isinstance(node, ast.Name) and self._is_error(node)):
                return True
        return False

    def _is_error(self, name: ast.Name) -> bool:
        """Whether all that is bound to the variable `name` before compares: `error = p - y_val`, `(error ** 2).mean()`."""
        values = self.symbols.values_of(name.id)[:_VALUES]
        spend(len(values))
        return bool(values) and all(
            value.lineno <= name.lineno and self._compares_with_answers(value) for value in values
        )

    def _compares_with_answers(self, node: ast.AST) -> bool:
        """Whether `node` compares predictions with the answers of held-out data."""
        match node:
            case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
                pass
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                pass
            case _:
                return False
        # `y_val - 1` compares no prediction with the answers.
        if isinstance(left, ast.Constant) or isinstance(right, ast.Constant):
            return False
        values = self.values
        if any(values.is_held_out_target(side) and not self._is_to_predict(side) for side in (left, right)):
            return True
        # Predictions of rows that were held out say so, too: `y - oof`.
        return any(
            values.is_target(one) and values.is_prediction(other) and values.says_held_out(other)
            for one, other in ((left, right), (right, left))
        )

    def _is_to_predict(self, side: ast.expr) -> bool:
        """Whether `side` is of the data to predict, which has no answers: `test.sold - test.year`."""
        says_answers = isinstance(side, ast.Name) and vocabulary.ANSWERS_NAME.fullmatch(side.id)
        return bool(self.values.of(side) & {"test", "submission"}) and not says_answers
