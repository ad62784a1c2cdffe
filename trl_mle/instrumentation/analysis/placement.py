"""Where marks go: one pass over the statements that follows what has certainly been achieved on every path.

The state is a set (see `events`); branches join by intersection, so a mark stands only where its milestone has been
achieved whichever way the program came. Two rules keep marks few:

- In a loop nothing is printed; what an iteration certainly achieves is printed once, after the outermost loop. What
  only some iterations achieve is printed where it happens if the loop runs at most `MOST_RUNS` times, otherwise never.
  (A loop over a value that the text does not show is taken to run at least once.)
- In a function marks stand only if it runs at most `MOST_RUNS` times. Otherwise, and for what a `return` achieves, the
  mark stands after the calling statement.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from trl_mle.instrumentation.analysis import vocabulary as words
from trl_mle.instrumentation.analysis.imports import import_anchors, is_library_import
from trl_mle.instrumentation.analysis.milestone_rules import (
    IMPORTED,
    LOADED,
    NOTHING,
    WROTE,
    Achieved,
    Events,
    is_empty,
)
from trl_mle.instrumentation.analysis.run_counts import MOST_RUNS, Bounds
from trl_mle.instrumentation.analysis.statement_rules import simple_events
from trl_mle.instrumentation.analysis.symbols import Facts, FunctionNode
from trl_mle.instrumentation.analysis.values import Kinds
from trl_mle.types import MILESTONES

State = Achieved | None
"""`None`: this point is not reached (after a `return`, `raise`, `sys.exit()`)."""


class Insertion(NamedTuple):
    """Marks that go right after one statement, into the same suite."""

    suite: list[ast.stmt]
    statement: ast.stmt
    milestones: tuple[str, ...]
    """In the order of `MILESTONES`."""
    metrics: tuple[tuple[str, str], ...] = ()
    """(Name of `METRICS`, variable that holds its value)."""


class Point(NamedTuple):
    """What is known right after one statement."""

    suite: list[ast.stmt]
    state: Achieved
    """What has been achieved whichever way the program came."""
    runs: float
    """How often this point runs at most."""
    in_loop: bool
    may_print: bool
    """Whether a print may stand here as far as the flood of output goes; never in the body of a class."""


@dataclass
class _Candidate:
    insertion: Insertion
    runs: float


@dataclass(frozen=True)
class _Context:
    runs: float
    """How often this point runs at most."""
    may_mark: bool
    in_class: bool = False
    deferred: list[_Candidate] | None = None
    """Inside a loop: what would be marked here if the loop as a whole does not certainly achieve it."""
    returns: list[Achieved] = field(default_factory=list)
    breaks: list[Achieved] = field(default_factory=list)
    continues: list[Achieved] = field(default_factory=list)


class Flow:
    """Finds the insertions of one program.

    Args:
        tree (`ast.Module`):
            The program.
        elifs (`set[int]`):
            `id` of every `if` that is written as `elif`: no statement can follow it in its suite.
    """

    def __init__(self, tree: ast.Module, elifs: set[int]):
        self.tree = tree
        self.elifs = elifs
        self.insertions: list[Insertion] = []
        self.points: dict[int, Point] = {}
        """`id` of a statement -> what holds after it; statements that never run, or nobody can follow, are missing."""
        self.facts = Facts.of(tree)
        self.kinds = Kinds(self.facts)
        self.bounds = Bounds(self.facts, self.kinds)
        self.events = Events(self.facts, self.kinds, self._summary)
        self.anchors = import_anchors(tree)
        self._summaries: dict[int, Achieved] = {}

    def run(self) -> list[Insertion]:
        """All insertions, inner suites before outer ones.

        Raises:
            RecursionError: the program is nested too deeply.
        """
        self._block(self.tree.body, NOTHING, _Context(runs=1, may_mark=True))
        return self.insertions

    def _summary(self, function: FunctionNode) -> Achieved:
        """What a call of `function` has achieved, and printed, when it returns normally."""
        if id(function) not in self._summaries:
            self._summaries[id(function)] = NOTHING  # recursion
            runs = self.bounds.of_function(function)
            context = _Context(runs, may_mark=runs <= MOST_RUNS)
            end = self._block(function.body, NOTHING, context)
            self._summaries[id(function)] = _join([end, *context.returns]) or NOTHING
        return self._summaries[id(function)]

    # Suites

    def _block(self, suite: list[ast.stmt], state: State, context: _Context) -> State:
        for statement in suite:
            if state is None:
                return None  # never runs
            before = state
            state = self._statement(statement, state, context)
            if state is None:
                continue
            if id(statement) in self.anchors and "~import" in state:
                state |= {IMPORTED}
            if id(statement) not in self.elifs:
                state = self._mark(suite, statement, before, state, context)
                may_print = context.runs <= MOST_RUNS and not context.in_class
                self.points[id(statement)] = Point(suite, state, context.runs, context.deferred is not None, may_print)
        return state

    def _mark(
        self, suite: list[ast.stmt], statement: ast.stmt, before: Achieved, state: Achieved, context: _Context
    ) -> Achieved:
        if context.may_mark:
            wanted = tuple(name for name in MILESTONES if name in state and f"!{name}" not in state)
            if wanted:
                self.insertions.append(Insertion(suite, statement, wanted))
            return state | {f"!{name}" for name in wanted}
        if context.deferred is not None and context.runs <= MOST_RUNS:
            gained = state - before
            wanted = tuple(name for name in MILESTONES if name in gained and not {f"!{name}", f"?{name}"} & state)
            if wanted:
                context.deferred.append(_Candidate(Insertion(suite, statement, wanted), context.runs))
            return state | {f"?{name}" for name in wanted}
        return state

    # Statements

    def _statement(self, node: ast.stmt, state: Achieved, context: _Context) -> State:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return state
            case ast.ClassDef():
                return self._block(node.body, state, replace(context, may_mark=False, in_class=True, deferred=None))
            case ast.Return():
                context.returns.append(state | self.events.of(node.value))
                return None
            case ast.Raise():
                return None
            case ast.Break():
                context.breaks.append(state)
                return None
            case ast.Continue():
                context.continues.append(state)
                return None
            case ast.If():
                return self._if(node, state, context)
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._loop(node, state, context)
            case ast.Try() | ast.TryStar():
                return self._try(node, state, context)
            case ast.With() | ast.AsyncWith():
                return self._with(node, state, context)
            case ast.Match():
                return self._match(node, state, context)
            case ast.Import() | ast.ImportFrom():
                return state | {"~import"} if is_library_import(node) else state
            case ast.Expr(value=ast.Call(func=func)) if self.facts.dotted(func) in words.EXITS:
                self.events.of(node.value)
                return None
        return simple_events(self.events, node, state)

    def _if(self, node: ast.If, state: Achieved, context: _Context) -> State:
        state |= self.events.of(node.test)
        constant = _constant(node.test)
        body = None if constant is False else self._block(node.body, state, context)
        orelse = None if constant is True else self._block(node.orelse, state, context)
        return _join([body, orelse])

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, state: Achieved, context: _Context) -> State:
        if isinstance(node, ast.While):
            constant = _constant(node.test)
            state |= self.events.of(node.test)
            never, endless = constant is False, constant is True
        else:
            state |= self.events.of(node.iter)
            never, endless = is_empty(node.iter), False
        if never:
            return self._block(node.orelse, state, context)
        outer = context.deferred
        deferred: list[_Candidate] = []
        inner = _Context(
            runs=context.runs * self.bounds.of_loop(node),
            may_mark=False,
            in_class=context.in_class,
            deferred=deferred,
            returns=context.returns,
        )
        after = _join([self._block(node.body, state, inner), *inner.continues])
        if after is not None and not isinstance(node, ast.While) and self.events.is_reading(node.iter):
            after |= {LOADED}
        end = None if endless else after
        if end is not None and node.orelse:
            end = self._block(node.orelse, end, context)
        end = _join([end, *inner.breaks])
        self._settle(deferred, end, outer, context.may_mark)
        return end if outer is not None or end is None else frozenset(item for item in end if item[0] != "?")

    def _settle(self, deferred: list[_Candidate], end: State, outer: list[_Candidate] | None, may_mark: bool) -> None:
        """Keep the marks inside a loop for what is not certain after it."""
        certain = end or NOTHING
        for candidate in deferred:
            suite, statement, milestones, _ = candidate.insertion
            kept = tuple(name for name in milestones if name not in certain)
            if not kept:
                continue
            insertion = Insertion(suite, statement, kept)
            if outer is not None:
                outer.append(_Candidate(insertion, candidate.runs))
            elif may_mark:
                self.insertions.append(insertion)

    def _try(self, node: ast.Try | ast.TryStar, state: Achieved, context: _Context) -> State:
        body = self._block(node.body, state, context)
        ends = [self._block(node.orelse, body, context) if body is not None else None]
        for handler in node.handlers:
            ends.append(self._block(handler.body, state, context))
        end = _join(ends)
        final = self._block(node.finalbody, state if end is None else end, context) if node.finalbody else end
        return None if end is None else final

    def _with(self, node: ast.With | ast.AsyncWith, state: Achieved, context: _Context) -> State:
        swallows = writes = reads = False
        entered = state
        for item in node.items:
            state |= self.events.of(item.context_expr)
            if isinstance(item.context_expr, ast.Call):
                call = item.context_expr
                swallows |= self.facts.dotted(call.func).rpartition(".")[2] == "suppress"
                writes |= self.events.opens(call, "w") and _touches(
                    node.body, words.STREAM_WRITERS, item.optional_vars
                )
                reads |= self.events.opens(call, "r") and _touches(node.body, words.STREAM_READERS, item.optional_vars)
        end = self._block(node.body, state, context)
        if end is None or swallows:
            return _join([entered, end]) if swallows else None
        return end | ({WROTE} if writes else NOTHING) | ({LOADED} if reads else NOTHING)

    def _match(self, node: ast.Match, state: Achieved, context: _Context) -> State:
        state |= self.events.of(node.subject)
        ends = [self._block(case.body, state, context) for case in node.cases]
        last = node.cases[-1]
        complete = last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
        return _join(ends if complete else [state, *ends])


def _join(states: list[State]) -> State:
    """What holds on every path that is taken."""
    reached = [state for state in states if state is not None]
    return frozenset.intersection(*reached) if reached else None


def _constant(test: ast.expr) -> bool | None:
    """The value of a condition that the text shows; the program is `__main__`."""
    match test:
        case ast.Constant(value=value):
            return bool(value)
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value=name)]):
            return name == "__main__"
    return None


def _touches(body: list[ast.stmt], methods: frozenset[str], handle: ast.expr | None) -> bool:
    """Whether `body` reads or writes the open file `handle`."""
    if not isinstance(handle, ast.Name):
        return False
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
                return True
            if isinstance(node, ast.Call) and any(_is(part.value, handle) for part in node.keywords):
                return True  # print(..., file=f)
            iterates = isinstance(node, (ast.For, ast.comprehension)) and _is(node.iter, handle)
            if iterates and "read" in methods:
                return True
            if isinstance(node, ast.Call) and "reader" in methods and any(_is(part, handle) for part in node.args):
                return True
    return False


def _is(node: ast.expr, name: ast.Name) -> bool:
    return isinstance(node, ast.Name) and node.id == name.id
