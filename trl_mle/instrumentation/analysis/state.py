"""The state of the analysis: what has certainly happened once a program arrives at one point of its text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from trl_mle.types import Milestone


class Step(StrEnum):
    """A step towards a milestone that is worth nothing by itself."""

    IMPORT = "import"
    """A library was imported. The milestone is reached after the last import of the program."""
    BACKWARD = "backward"
    """Gradients were computed. The model is trained once an optimizer steps as well."""


@dataclass(frozen=True)
class State:
    """What has certainly happened at one point, on every path that leads to it.

    `a | b` is the state after `a` and then `b`. `a & b` is the state where two paths join. A point that no path reaches
    (after a `return`, `raise` or `sys.exit()`) has no state; `None` stands for it.
    """

    milestones: frozenset[Milestone] = frozenset()
    """Milestones that are reached."""
    steps: frozenset[Step] = frozenset()
    """Steps that are done."""
    marked: frozenset[Milestone] = frozenset()
    """Milestones whose mark is printed already, here or in a function that was called."""
    deferred: frozenset[Milestone] = frozenset()
    """Milestones that already have a candidate for a mark in the current loop. The candidate is inserted only if the loop
    as a whole does not certainly reach the milestone, so this is not the same as `marked`."""

    def __or__(self, other: State) -> State:
        # Most expressions reach nothing. These two lines save most of the unions.
        if other is NOTHING:
            return self
        if self is NOTHING:
            return other
        return State(
            self.milestones | other.milestones,
            self.steps | other.steps,
            self.marked | other.marked,
            self.deferred | other.deferred,
        )

    def __and__(self, other: State) -> State:
        return State(
            self.milestones & other.milestones,
            self.steps & other.steps,
            self.marked & other.marked,
            self.deferred & other.deferred,
        )


NOTHING = State()
"""The state at the start of a program."""


def reached(*milestones: Milestone) -> State:
    """The state in which `milestones` are reached."""
    return State(frozenset(milestones))


def did(*steps: Step) -> State:
    """The state in which `steps` are done."""
    return State(steps=frozenset(steps))


def join(states: list[State | None]) -> State | None:
    """The state after paths join: what holds at the end of every path that is taken; `None` if no path is."""
    taken = [state for state in states if state is not None]
    if not taken:
        return None
    result = taken[0]
    for state in taken[1:]:
        result &= state
    return result
