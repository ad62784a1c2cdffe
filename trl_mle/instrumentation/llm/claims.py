"""Claims of a model -> places of marks. A mark never stands before what it claims.

For a milestone that `Placement` can tell (some statement of the program certainly reaches it):

- A claim after a statement by which the milestone is reached on every path, outside loops, is **kept**. If it is late, the
  marks of `ASTInstrumenter` stand as well, because the program may stop in between.
- Any other claim is **moved**: the marks go where `ASTInstrumenter` puts them. If that is nowhere (the code runs in a
  loop or function without a bound), the claim is dropped.

For a milestone that `Placement` cannot tell, a claim stands after the statement it names, or after the outermost loop around
it, if that holds what the milestone needs (`evidence`). Otherwise it is **dropped**.

Whatever the model claims or omits, each mark of `ASTInstrumenter` stands, or one before it in the same suite. A model can
add marks but never remove one.

A metric stands where it is claimed, if its variable certainly holds a computed value there (`metric_prints`) and, where
`Placement` can tell, training or evaluation has been achieved; otherwise it is dropped, and also where name or value say that
it is of the other data (`val_loss` as training loss).
"""

from __future__ import annotations

import ast
from typing import NamedTuple

from trl_mle.instrumentation.analysis.bound_variables import BoundVariables, metric_hazard
from trl_mle.instrumentation.analysis.budget import walk
from trl_mle.instrumentation.analysis.placement import Insertion, Placement, Point, end_of
from trl_mle.instrumentation.llm.answer import Claim
from trl_mle.instrumentation.llm.evidence import Evidence
from trl_mle.types import MILESTONES, PROGRAM_METRICS, Milestone

_METRIC_NEEDS = {
    "training_loss": Milestone.TRAINED_MODEL,
    "training_score": Milestone.TRAINED_MODEL,
    "validation_score": Milestone.EVALUATED_MODEL,
}
MOST_PRINTS = 400
"""Marks and reports that a model adds are left out where a run could print more than this, those of the rules included, so
that they cannot flood the output (1 MiB)."""


class Placed(NamedTuple):
    """The places of marks, and what became of the claims."""

    insertions: list[Insertion]
    """Inner suites before outer ones."""
    claims_kept: int
    claims_moved: int
    added: tuple[str, ...]
    """Milestones that are marked without a claim."""
    dropped: tuple[str, ...]
    """The reason for each claim that was dropped."""


def place(claims: list[Claim], tree: ast.Module, elifs: set[int]) -> Placed:
    """Judge `claims` about the program `tree`.

    Raises:
        RecursionError: the program is nested too deeply.
    """
    return _Placing(tree, elifs).run(claims)


class _Placing:
    def __init__(self, tree: ast.Module, elifs: set[int]):
        self.tree = tree
        self.placement = Placement(tree, elifs)
        self.known_places = self.placement.run()
        self.points = self.placement.points
        states = (point.state for point in self.points.values())
        self.known = {name for state in states for name in state.milestones}.union(
            *(item.milestones for item in self.known_places)
        )
        self.evidence = Evidence(self.placement)
        self.variables = BoundVariables(tree)
        self.metric_hazard = metric_hazard(tree)
        self.parents = {id(child): node for node in walk(tree) for child in ast.iter_child_nodes(node)}
        self.milestones: dict[int, set[str]] = {}
        self.metrics: dict[int, dict[str, str]] = {}
        self.statements: dict[int, tuple[list[ast.stmt], ast.stmt]] = {}

    def run(self, claims: list[Claim]) -> Placed:
        claims_kept = claims_moved = 0
        dropped: list[str] = []
        for claim in claims:
            if claim.name in PROGRAM_METRICS:
                why = self._metric(claim)
            elif claim.name not in self.known:
                why = self._unknown(claim)
            elif self._stands(claim):
                why = None
                self._move(claim.name)  # beside it: the program may stop between what achieves it and the claim
            else:
                why = self._move(claim.name)
                if why is None:
                    claims_moved += 1
                    continue
            if why is None:
                claims_kept += 1
            else:
                line = claim.statement.lineno if claim.statement is not None else 0
                dropped.append(f"{claim.name} near line {line}: {why}")
        added = [name for name in sorted(self.known - {claim.name for claim in claims}) if self._move(name) is None]
        return Placed(self._insertions(), claims_kept, claims_moved, tuple(added), tuple(dropped))

    # Claims

    def _stands(self, claim: Claim) -> bool:
        statement = self._outside_elif(claim.statement)
        point = self.points.get(id(statement))
        if (
            statement is None
            or point is None
            or point.in_loop
            or not point.may_print
            or claim.name not in point.state.milestones
        ):
            return False
        self._put(point, statement, claim.name)
        return True

    def _move(self, milestone: str) -> str | None:
        places = [item for item in self.known_places if milestone in item.milestones]
        for suite, statement, _, _ in places:
            self.statements[id(statement)] = (suite, statement)
            self.milestones.setdefault(id(statement), set()).add(milestone)
        return None if places else "it is reached only where a print could flood the output"

    def _unknown(self, claim: Claim) -> str | None:
        statement = self._outside_elif(claim.statement)
        while statement is not None:
            point = self.points.get(id(statement))
            if point is None:
                return "the code there may never run"
            if not point.in_loop:
                break
            statement = self._around(statement)
        else:
            return "nothing has been done there"
        if not point.may_print:
            return "a print there could flood the output"
        if not self.evidence.supports(claim.name, statement):
            return "no statement there can reach it"
        self._put(point, statement, claim.name)
        return None

    def _metric(self, claim: Claim) -> str | None:
        if self.metric_hazard is not None:
            return self.metric_hazard
        point = self.points.get(id(claim.statement))
        if claim.statement is None or point is None or not point.may_print:
            return "a print cannot stand there"
        if claim.variable is None:
            return "its value is no plain variable"
        value = self.variables.after(claim.statement).get(claim.variable)
        if value is None:
            return f"`{claim.variable}` may not be bound there"
        if isinstance(value, (ast.Constant, ast.UnaryOp, ast.List, ast.Dict, ast.Tuple, ast.Lambda)):
            return f"`{claim.variable}` is no computed number"
        needed = _METRIC_NEEDS[claim.name]
        if needed in self.known and needed not in point.state.milestones:
            return f"{needed} is not reached there"
        if self.evidence.held_out(claim.variable, value) is (claim.name != "validation_score"):
            return f"`{claim.variable}` is of other data"
        self.statements[id(claim.statement)] = (point.suite, claim.statement)
        self.metrics.setdefault(id(claim.statement), {})[claim.name] = claim.variable
        return None

    def _put(self, point: Point, statement: ast.stmt, milestone: str) -> None:
        self.statements[id(statement)] = (point.suite, statement)
        self.milestones.setdefault(id(statement), set()).add(milestone)

    def _outside_elif(self, statement: ast.stmt | None) -> ast.stmt | None:
        """`statement`, or the whole `if` where it is an `elif`, after which nothing can stand."""
        while statement is not None and id(statement) in self.placement.elifs:
            statement = self._around(statement)
        return statement

    def _around(self, statement: ast.stmt) -> ast.stmt | None:
        node: ast.AST | None = self.parents.get(id(statement))
        while node is not None and not isinstance(node, ast.stmt):
            node = self.parents.get(id(node))
        return node

    # The result

    def _runs(self, statement: ast.stmt) -> float:
        point = self.points.get(id(statement))
        return 1.0 if point is None else point.runs

    def _insertions(self) -> list[Insertion]:
        """Inner suites first; of several marks of a milestone in one suite, the first. Marks of the rules all stand; with
        those and the reports that the model has added, there are at most `MOST_PRINTS` prints."""
        proved = {(id(item.statement), name) for item in self.known_places for name in item.milestones}
        left = MOST_PRINTS - sum(self._runs(item.statement) * len(item.milestones) for item in self.known_places)
        wanted = sorted(self.statements.values(), key=lambda pair: (pair[1].lineno, pair[1].col_offset))
        seen: set[tuple[int, str]] = set()
        result = []
        for suite, statement in wanted:
            names = self.milestones.get(id(statement), set())
            milestones = tuple(name for name in MILESTONES if name in names and (id(suite), name) not in seen)
            metrics = tuple(self.metrics.get(id(statement), {}).items())
            sure = tuple(name for name in milestones if (id(statement), name) in proved)
            cost = self._runs(statement) * (len(milestones) - len(sure) + len(metrics))
            if cost > left:
                milestones, metrics, cost = sure, (), 0.0
            left -= cost
            if not milestones and not metrics:
                continue
            seen.update((id(suite), name) for name in milestones)
            result.append(Insertion(suite, statement, milestones, metrics))
        return sorted(result, key=end_of)
