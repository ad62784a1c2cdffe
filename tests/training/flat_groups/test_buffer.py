"""The buffer keeps its bounds: age, uses, size; and every process chooses the same."""

from hypothesis import given
from hypothesis import strategies as st

from trl_mle.training.flat_groups.buffer import GroupBuffer

HERE, SPLIT = (0, 0), (0, 1)


def filled(max_age=8, max_uses=1, groups=3, step=0):
    buffer = GroupBuffer(max_age, max_uses)
    buffer.keep([(HERE, [{"name": number}]) for number in range(groups)], step, limit=100)
    return buffer


def numbers(chosen):
    return [None if group is None else group.number for group in chosen]


def test_the_newest_group_comes_first_and_none_twice():
    buffer = filled()
    assert numbers(buffer.choose([HERE] * 4, step=1)) == [2, 1, 0, None]
    assert numbers(buffer.choose([HERE], step=1)) == [None]


def test_groups_that_were_used_least_come_first():
    buffer = filled(max_uses=2, groups=2)
    assert numbers(buffer.choose([HERE], step=1)) == [1]
    assert numbers(buffer.choose([HERE], step=2)) == [0]
    assert numbers(buffer.choose([HERE, HERE, HERE], step=3)) == [1, 0, None]


def test_a_group_fits_only_its_own_layout():
    assert numbers(filled().choose([SPLIT], step=1)) == [None]


def test_old_groups_are_not_used():
    assert numbers(filled(max_age=2).choose([HERE], step=2)) == [2]
    assert numbers(filled(max_age=2).choose([HERE], step=3)) == [None]


def test_groups_of_steps_that_were_undone_are_not_used():
    assert numbers(filled(step=5).choose([HERE], step=4)) == [None]


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.sampled_from([HERE, SPLIT]), max_size=4), st.integers(0, 4)), max_size=25
)


@given(events=EVENTS, max_age=st.integers(0, 5), max_uses=st.integers(1, 3), limit=st.integers(1, 5))
def test_bounds_hold_and_processes_agree(events, max_age, max_uses, limit):
    """Two processes with rows of their own, one of which is resumed after every batch."""
    first, second = GroupBuffer(max_age, max_uses), GroupBuffer(max_age, max_uses)
    step, uses = 0, {}
    for passed, wanted, fresh in events:
        step += passed
        chosen = first.choose(wanted, step)
        assert numbers(chosen) == numbers(second.choose(wanted, step))
        taken = [group for group in chosen if group is not None]
        assert len({group.number for group in taken}) == len(taken)
        for layout, group in zip(wanted, chosen, strict=True):
            if group is not None:
                assert group.layout == layout and step - group.trained_at <= max_age
                assert first.rows(group) == [group.number]
                uses[group.number] = uses.get(group.number, 0) + 1
        start = first.state_dict()["next"]
        for buffer, rows in ((first, lambda number: [number]), (second, lambda number: [])):
            buffer.keep([(HERE, rows(start + place)) for place in range(fresh)], step, limit)
        assert len(first.groups) <= limit and first.state_dict()["rows"].keys() == {g.number for g in first.groups}
        resumed = GroupBuffer(max_age, max_uses)
        resumed.load_state_dict(first.state_dict())
        first = resumed
        assert first.summary() == second.summary()
    assert all(count <= max_uses for count in uses.values())
