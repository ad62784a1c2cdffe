"""`State`: sequence is union, and paths that join keep what holds on all of them."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from trl_mle.instrumentation.analysis.state import NOTHING, State, Step, did, join, reached
from trl_mle.types import MILESTONES, Milestone

milestones = st.frozensets(st.sampled_from(MILESTONES))
states = st.builds(State, milestones, st.frozensets(st.sampled_from(Step)), milestones, milestones)
FIELDS = ("milestones", "steps", "marked", "deferred")


@given(states, states)
def test_union_and_intersection_hold_for_every_field(a, b):
    for name in FIELDS:
        assert getattr(a | b, name) == getattr(a, name) | getattr(b, name)
        assert getattr(a & b, name) == getattr(a, name) & getattr(b, name)


@given(states)
def test_nothing_is_neutral(state):
    assert NOTHING | state == state | NOTHING == state
    assert NOTHING & state == NOTHING


@given(st.lists(st.none() | states))
def test_join_leaves_out_paths_that_are_not_taken(ends):
    taken = [state for state in ends if state is not None]
    assert join(ends) == (reduce(State.__and__, taken) if taken else None)


def test_steps_are_no_milestones():
    state = did(Step.IMPORT) | reached(Milestone.LOADED_DATA)
    assert state == State(frozenset({Milestone.LOADED_DATA}), frozenset({Step.IMPORT}))
