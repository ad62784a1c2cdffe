"""A rewound store is one in which nothing was added since, except that nothing is lost."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.experience import failed, valid
from trl_mle import ExperienceStore
from trl_mle.errors import StoreError
from trl_mle.experience import STRATEGIES
from trl_mle.experience.schema import DERIVED_TABLES

CODES = ("Ridge()", "SVR()", "StandardScaler(); Ridge()", "x = 1", "x = 1  # again", "MLPRegressor()")
steps = st.tuples(
    st.sampled_from(["valid", "valid", "valid", "failure", "timeout", "fault"]),
    st.sampled_from(CODES),
    st.sampled_from([-0.5, 0.0, 0.25, 1.0]),
    st.sampled_from(["toy", "other"]),
    st.booleans(),
)
actions = st.lists(st.one_of(steps, st.floats(0, 1)), max_size=25)
"""Additions, and rewinds to a share of all ids given so far."""


def take(store: ExperienceStore, step) -> int:
    """One addition; with the last flag, as the child of the parent that the store chooses."""
    kind, code, reward, task, improves = step
    parent = store.choose_parent(task, "learnability", random.Random(code)) if improves else None
    outcome = valid(reward, code, task) if kind == "valid" else failed(code, kind, task)
    return store.add(
        outcome, prompt_kind="improve" if parent else "scratch", parent=parent.id if parent else None, step=0
    )


def chosen(store: ExperienceStore) -> list:
    """What a run would see: choices, and order of the best ones, without ids."""
    seen = []
    for task in ("toy", "other"):
        for name in STRATEGIES:
            rng = random.Random(name)
            choices = [store.choose_parent(task, name, rng) for _ in range(3)]
            seen += [choice and (choice.outcome, choice.depth) for choice in choices]
        failure = store.choose_failed(task, random.Random(0))
        seen += [failure and failure.outcome, [best.outcome for best in store.best(task, 9)]]
    return [*seen, len(store), store.tasks(), [experience.outcome for experience in store]]


def derived(store: ExperienceStore) -> list:
    """The tables that follow from the facts, with the order of ids in place of ids."""
    with store._database.read() as db:
        ids = [id_ for (id_,) in db.execute("SELECT id FROM experiences WHERE NOT superseded ORDER BY id")]
        tables = [
            [dict(zip((column[0] for column in cursor.description), row, strict=True)) for row in cursor]
            for cursor in (db.execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in DERIVED_TABLES)
        ]
    for row in tables[0]:
        row["id"], row["progress"] = ids.index(row["id"]), row["progress"] and ids.index(row["progress"])
    return tables


@settings(max_examples=20, deadline=None)
@given(actions)
def test_rewinds_lead_to_the_store_that_was_there(taken):
    with tempfile.TemporaryDirectory() as folder:
        histories: dict[int, list] = {0: []}  # position -> the additions that led to it
        live: list = []
        with ExperienceStore(Path(folder) / "run.sqlite") as store:
            for action in taken:
                if isinstance(action, float):
                    position = sorted(histories)[int(action * (len(histories) - 1))]
                    dropped = len(live) - len(histories[position])
                    assert store.rewind(position) == dropped
                    live = list(histories[position])
                    assert store.position == position
                else:
                    live.append(action)
                    histories[take(store, action)] = list(live)
            with ExperienceStore(Path(folder) / "straight.sqlite") as straight:
                for action in live:
                    take(straight, action)
                assert chosen(store) == chosen(straight)
                assert derived(store) == derived(straight)
            everything = [store.get(id_) for id_ in range(1, max(histories) + 1)]
            assert len(everything) == max(histories), "nothing is lost"


def test_a_rewound_run_goes_on_as_the_other_one(store):
    for number in range(20):
        take(store, ("valid", CODES[number % 6], number / 20, "toy", number % 2))
    position, state = store.sync(), chosen(store)
    for number in range(10):
        take(store, ("valid", f"lost {number}", 2.0 + number, "toy", True))
    assert chosen(store) != state
    assert store.rewind(position) == 10
    assert chosen(store) == state
    assert store.get(30).outcome.program.code == "lost 9"
    assert take(store, ("valid", "new", 1.5, "toy", True)) == 31, "ids are not given twice"
    assert store.position == 31


def test_a_late_child_of_what_no_longer_counts_counts_for_itself(store):
    store.add(valid(0.1))
    late = store.add(valid(0.2))
    store.rewind(1)
    store.add(valid(0.3), prompt_kind="improve", parent=late)
    (summary,) = store.tasks()
    assert (summary.experiences, summary.candidates, summary.children) == (2, 2, 0)


@pytest.mark.parametrize("position", [-1, 4, 10**6])
def test_a_position_that_never_was_is_refused(store, position):
    for number in range(3):
        store.add(valid(number / 10))
    with pytest.raises(StoreError, match=rf"was never at position {position}.*newest id is 3"):
        store.rewind(position)
    assert len(store) == 3


def test_rewinding_to_the_present_changes_nothing(store):
    store.add(valid(0.1))
    assert store.rewind(1) == 0
    assert store.rewind(0) == 1
    assert store.rewind(0) == 0
    assert store.rewind(1) == -1, "what an earlier rewind had left counts again"
    assert len(store) == 1
