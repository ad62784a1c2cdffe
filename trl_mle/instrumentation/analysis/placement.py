"""Placement of marks: one pass over the statements that follows what has certainly been reached on every path.

Paths join by intersection, so a mark stands only where its milestone is reached whichever way the program came (see
`state`). Two rules keep the number of printed marks small:

- In a loop, nothing is printed. What an iteration certainly reaches is printed once, after the outermost loop. What only
  some iterations reach is printed in place if the loop runs at most `MOST_RUNS` times, otherwise never. A loop over a
  value that the text does not show is assumed to run at least once.
- In a function, marks stand only if it runs at most `MOST_RUNS` times. Otherwise the mark stands after the statement that
  calls the function. So does the mark of what a `return` reaches.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from trl_mle.instrumentation.analysis import vocabulary
from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.instrumentation.analysis.imports import import_anchors, is_library_import
from trl_mle.instrumentation.analysis.managers import may_swallow
from trl_mle.instrumentation.analysis.milestone_rules import MilestoneRules
from trl_mle.instrumentation.analysis.run_counts import MOST_RUNS, RunCounts
from trl_mle.instrumentation.analysis.scopes import leaves
from trl_mle.instrumentation.analysis.state import NOTHING, State, Step, did, join, reached
from trl_mle.instrumentation.analysis.statement_rules import after_simple_statement
from trl_mle.instrumentation.analysis.symbol_collector import symbols_of
from trl_mle.instrumentation.analysis.symbols import FunctionNode
from trl_mle.instrumentation.analysis.values import Values
from trl_mle.types import MILESTONES, Milestone


class Insertion(NamedTuple):
    """Marks that go right after one statement, into the same suite."""

    suite: list[ast.stmt]
    statement: ast.stmt
    milestones: tuple[Milestone, ...]
    """In the order of `MILESTONES`."""
    metrics: tuple[tuple[str, str], ...] = ()
    """(Name from `PROGRAM_METRICS`, variable that holds its value)."""


class Point(NamedTuple):
    """What is known right after one statement."""

    suite: list[ast.stmt]
    state: State
    """What has been reached on every path to this point."""
    runs: float
    """Upper bound on how often this point runs."""
    in_loop: bool
    may_print: bool
    """Whether a print here cannot flood the output. Always false in the body of a class."""


@dataclass
class _Candidate:
    insertion: Insertion
    runs: float


@dataclass(frozen=True)
class _Context:
    """What surrounds a suite."""

    runs: float
    """Upper bound on how often the suite runs."""
    may_mark: bool
    in_class: bool = False
    candidates: list[_Candidate] | None = None
    """Inside a loop: the marks that are inserted here if the loop as a whole does not certainly reach their milestone."""
    returns: list[State] = field(default_factory=list)
    """States at the `return` statements of the function."""
    breaks: list[State] = field(default_factory=list)
    continues: list[State] = field(default_factory=list)


class Placement:
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
        """`id` of a statement -> what holds after it. Statements that never run, or that no rule follows, are missing."""
        self.symbols = symbols_of(tree)
        self.values = Values(self.symbols)
        self.run_counts = RunCounts(self.symbols, self.values)
        self.rules = MilestoneRules(self.symbols, self.values, self._summary)
        self.anchors = import_anchors(tree)
        self._summaries: dict[int, State] = {}

    def run(self) -> list[Insertion]:
        """All insertions, inner suites before outer ones.

        Raises:
            RecursionError: the program is nested too deeply.
        """
        self._block(self.tree.body, NOTHING, _Context(runs=1, may_mark=True))
        # Whether a call in `raise SystemExit(main())` or `load() and train()` is certain does not matter to the marks inside.
        for function in self.symbols.all_functions():
            if 0 < self.run_counts.of_function(function) <= MOST_RUNS:
                self._summary(function)
        self.insertions.sort(key=end_of)
        return self.insertions

    def _summary(self, function: FunctionNode) -> State:
        """What a call of `function` has reached, and printed, when it returns normally."""
        if id(function) not in self._summaries:
            # A recursive call comes back here before the summary is known. It is taken to reach nothing.
            self._summaries[id(function)] = NOTHING
            runs = self.run_counts.of_function(function)
            context = _Context(runs, may_mark=runs <= MOST_RUNS)
            end = self._block(function.body, NOTHING, context)
            self._summaries[id(function)] = join([end, *context.returns]) or NOTHING
        return self._summaries[id(function)]

    # Suites

    def _block(self, suite: list[ast.stmt], state: State | None, context: _Context) -> State | None:
        for statement in suite:
            if state is None:
                return None  # the rest of the suite never runs
            before = state
            state = self._statement(statement, state, context)
            if state is None:
                continue
            # Only the last import marks the milestone. Marks after earlier ones would pay for a program that stops between.
            if id(statement) in self.anchors and Step.IMPORT in state.steps:
                state |= reached(Milestone.IMPORTED_LIBRARIES)
            # After an `elif` no statement can stand. What it reaches is marked after the whole `if`.
            if id(statement) not in self.elifs:
                state = self._mark(suite, statement, before, state, context)
                may_print = context.runs <= MOST_RUNS and not context.in_class
                in_loop = context.candidates is not None
                self.points[id(statement)] = Point(suite, state, context.runs, in_loop, may_print)
        return state

    def _mark(
        self, suite: list[ast.stmt], statement: ast.stmt, before: State, state: State, context: _Context
    ) -> State:
        if context.may_mark:
            # All that is reached and not yet marked, not only what this statement reached: a branch, a loop or a called
            # function may have reached it where no mark could stand.
            wanted = _in_order(state.milestones - state.marked)
            if wanted:
                self.insertions.append(Insertion(suite, statement, wanted))
            return state | State(marked=frozenset(wanted))
        if context.candidates is not None and context.runs <= MOST_RUNS:
            # In a loop, only what this statement reached: what was reached before the loop is not of this iteration.
            gained = state.milestones - before.milestones
            wanted = _in_order(gained - state.marked - state.deferred)
            if wanted:
                context.candidates.append(_Candidate(Insertion(suite, statement, wanted), context.runs))
            return state | State(deferred=frozenset(wanted))
        return state

    # Statements

    def _statement(self, node: ast.stmt, state: State, context: _Context) -> State | None:
        spend()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return state  # a definition runs nothing; its calls count, through `_summary`
            case ast.ClassDef():
                # The body runs, but in it a name may be looked up by code of the program (`__prepare__`): no print there.
                return self._block(node.body, state, replace(context, may_mark=False, in_class=True, candidates=None))
            case ast.Return():
                context.returns.append(state | self.rules.of(node.value))
                return None
            case ast.Raise():
                return None  # no success is reported on the way to an exception
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
                return state | did(Step.IMPORT) if is_library_import(node) else state
            case ast.Expr(value=ast.Call(func=func)) if self.symbols.dotted(func) in vocabulary.EXITS:
                self.rules.of(node.value)  # places the marks in functions that the arguments call
                return None
        return after_simple_statement(self.rules, node, state)

    def _if(self, node: ast.If, state: State, context: _Context) -> State | None:
        state |= self.rules.of(node.test)
        # A branch that never runs must not join: `if __name__ == "__main__":` has no `else` that reaches nothing.
        constant = self.rules.constants.truth(node.test)
        body = None if constant is False else self._block(node.body, state, context)
        orelse = None if constant is True else self._block(node.orelse, state, context)
        return join([body, orelse])

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, state: State, context: _Context) -> State | None:
        if isinstance(node, ast.While):
            constant = self.rules.constants.truth(node.test)
            state |= self.rules.of(node.test)
            never, endless = constant is False, constant is True
        else:
            state |= self.rules.of(node.iter)
            never, endless = self.rules.constants.is_empty(node.iter), False
        if never:
            return self._block(node.orelse, state, context)
        outer = context.candidates
        candidates: list[_Candidate] = []
        inner = _Context(
            runs=context.runs * float(self.run_counts.of_loop(node)),
            may_mark=False,
            in_class=context.in_class,
            candidates=candidates,
            returns=context.returns,
        )
        after = join([self._block(node.body, state, inner), *inner.continues])
        # The last line is read only when the iterator ends, so the data is loaded after the loop and not inside it.
        if after is not None and not isinstance(node, ast.While):
            after |= self.rules.of_generator(node.iter)
            after |= reached(Milestone.LOADED_DATA) if self.rules.files.is_reading(node.iter) else NOTHING
        # A container that the text leaves empty is no reason to believe in an iteration.
        if not isinstance(node, ast.While) and self.rules.constants.may_be_empty(node.iter):
            after = join([state, after])
        # `while True` ends by `break` only.
        end = None if endless else after
        if end is not None and node.orelse:
            end = self._block(node.orelse, end, context)  # `else` is skipped by `break`
        end = join([end, *inner.breaks])
        self._keep_uncertain(candidates, end, outer, context.may_mark)
        # Outside all loops every candidate is decided, so none is pending any more.
        return end if outer is not None or end is None else replace(end, deferred=frozenset())

    def _keep_uncertain(
        self, candidates: list[_Candidate], end: State | None, outer: list[_Candidate] | None, may_mark: bool
    ) -> None:
        """Keep the marks inside a loop whose milestones are not certain after it."""
        certain = (end or NOTHING).milestones
        spend(len(candidates))
        for candidate in candidates:
            suite, statement, milestones, _ = candidate.insertion
            # What is certain after the loop is marked there, once.
            uncertain = tuple(name for name in milestones if name not in certain)
            if not uncertain:
                continue
            insertion = Insertion(suite, statement, uncertain)
            if outer is not None:
                # The outer loop may yet make it certain.
                outer.append(_Candidate(insertion, candidate.runs))
            elif may_mark:
                self.insertions.append(insertion)

    def _try(self, node: ast.Try | ast.TryStar, state: State, context: _Context) -> State | None:
        body = self._block(node.body, state, context)
        ends = [self._block(node.orelse, body, context) if body is not None else None]
        for handler in node.handlers:
            # The exception may come from the first statement of the body, so a handler knows nothing that the body reached.
            ends.append(self._block(handler.body, state, context))
        end = join(ends)
        # If every path leaves by `return` or `raise`, `finally` still runs, from the state before the `try`.
        # A `finally` that leaves the suite ends exceptions, so it knows nothing that the body reached.
        before = state if end is None or leaves(node.finalbody) else end
        final = self._block(node.finalbody, before, context) if node.finalbody else end
        return None if end is None else final

    def _with(self, node: ast.With | ast.AsyncWith, state: State, context: _Context) -> State | None:
        swallows = writes = reads = False
        entered = state
        for item in node.items:
            state |= self.rules.of(item.context_expr)
            swallows |= may_swallow(self.symbols, item.context_expr)
            if isinstance(item.context_expr, ast.Call):
                call = item.context_expr
                # Opening a file reads and writes nothing: the body must use the handle.
                writes |= self.rules.files.opens(call, "w") and _touches(
                    node.body, vocabulary.STREAM_WRITERS, item.optional_vars
                )
                reads |= self.rules.files.opens(call, "r") and _touches(
                    node.body, vocabulary.STREAM_READERS, item.optional_vars
                )
        end = self._block(node.body, state, context)
        if end is None or swallows:
            # `suppress` continues after the block however far the body came, even if it ends in a `raise`.
            return join([entered, end]) if swallows else None
        # The file is complete once it is closed, so both milestones are reached after the block.
        if writes:
            end |= reached(Milestone.WROTE_PREDICTIONS)
        return end | reached(Milestone.LOADED_DATA) if reads else end

    def _match(self, node: ast.Match, state: State, context: _Context) -> State | None:
        state |= self.rules.of(node.subject)
        ends = [self._block(case.body, state, context) for case in node.cases]
        # Without a catch-all case, it is possible that no case runs.
        last = node.cases[-1]
        complete = last.guard is None and isinstance(last.pattern, ast.MatchAs) and last.pattern.pattern is None
        return join(ends if complete else [state, *ends])


def end_of(insertion: Insertion) -> tuple[int, ...]:
    """A key that sorts inner suites before outer ones."""
    node = insertion.statement
    return node.end_lineno or 0, node.end_col_offset or 0, -node.lineno, -node.col_offset


def _in_order(milestones: frozenset[Milestone]) -> tuple[Milestone, ...]:
    return tuple(name for name in MILESTONES if name in milestones)


def _touches(body: list[ast.stmt], methods: frozenset[str], handle: ast.expr | None) -> bool:
    """Whether `body` reads or writes the open file `handle` by one of `methods`."""
    if not isinstance(handle, ast.Name):
        return False
    for statement in body:
        for node in walk(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in methods:
                return True
            if isinstance(node, ast.Call) and any(_is(part.value, handle) for part in node.keywords):
                return True  # print(..., file=f)
            # `for line in f` reads. "read" and "reader" tell the two sets of methods apart.
            iterates = isinstance(node, (ast.For, ast.comprehension)) and _is(node.iter, handle)
            if iterates and "read" in methods:
                return True
            # csv.reader(f), json.load(f)
            if isinstance(node, ast.Call) and "reader" in methods and any(_is(part, handle) for part in node.args):
                return True
    return False


def _is(node: ast.expr, name: ast.Name) -> bool:
    return isinstance(node, ast.Name) and node.id == name.id
