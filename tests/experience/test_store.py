"""What goes into a store comes out of it."""

from __future__ import annotations

import math
import pickle
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.experience import failed, valid
from tests.test_outcomes import outcomes
from trl_mle import Experience, ExperienceStore
from trl_mle.errors import ConfigError, StoreError
from trl_mle.outcomes import stored, to_row
from trl_mle.types import Program


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(outcomes(), min_size=1, max_size=4))
def test_every_outcome_is_read_back_as_a_row_keeps_it(store, batch):
    ids = [store.add(outcome, step=step) for step, outcome in enumerate(batch)]
    for step, (id_, outcome) in enumerate(zip(ids, batch, strict=True)):
        assert store.get(id_) == Experience(id_, stored(outcome), "scratch", None, step, 0)
    assert store.position == ids[-1]


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "é" * 10_000, "\U0010ffff", '"; DROP TABLE rows; --'])
def test_any_text_of_a_policy_is_kept(store, text):
    outcome = replace(valid(0.5, text), program=Program(text, text))
    assert store.get(store.add(outcome)).outcome == stored(outcome)
    assert store.choose_parent("toy").outcome.program.code == text


def test_numbers_that_are_none_are_missing(store):
    broken = replace(valid(0.5), reward=math.inf, reward_parts={"score": math.nan})
    experience = store.get(store.add(broken))
    assert experience.outcome.reward is None
    assert store.choose_parent("toy") is None, "a score that is no number is no reason to show a program"


def test_lineages_have_a_depth(store):
    first = store.add(valid(0.1))
    second = store.add(valid(0.2), prompt_kind="improve", parent=first)
    third = store.add(failed(), prompt_kind="improve", parent=second, step=7)
    fourth = store.add(valid(0.3), prompt_kind="debug", parent=third)
    assert [store.get(id_).depth for id_ in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert (store.get(fourth).parent_id, store.get(fourth).prompt_kind, store.get(third).step) == (third, "debug", 7)


def test_rows_of_a_table_are_added_together(store):
    rows = [to_row(valid(0.1)), {**to_row(failed()), "step": 3, "prompt": "left out"}]
    first, _ = ids = store.add_rows(rows)
    table = pd.DataFrame([{**row, "parent_id": parent} for row, parent in zip(rows, (None, first), strict=True)])
    table["prompt_kind"] = [None, "improve"]
    ids += store.add_rows(table.to_dict("records"))
    assert [store.get(id_).parent_id for id_ in ids] == [None, None, None, first]
    assert [store.get(id_).prompt_kind for id_ in ids] == ["scratch", "scratch", "scratch", "improve"]
    assert [store.get(id_).step for id_ in ids] == [None, 3, None, 3]
    assert [experience.id for experience in store] == ids
    assert len(store) == 4


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"kind": None}, "holds no outcome"),
        ({"kind": "brilliant"}, "`kind` is 'brilliant'"),
        ({"prompt_kind": "guess"}, "`prompt_kind` is 'guess'.*scratch, improve, debug"),
        ({"parent_id": 99}, "`parent` is 99, but the store has no such experience"),
        ({"parent_id": "x"}, "`parent_id` is 'x'.*whole number"),
        ({"step": 1.5}, "`step` is 1.5"),
        ({"step": 2**70}, "`step` is"),
    ],
)
def test_a_wrong_row_adds_none(store, row, message):
    with pytest.raises(ConfigError, match=message):
        store.add_rows([to_row(valid(0.1)), {**to_row(valid(0.2)), **row}])
    assert len(store) == 0
    assert store.position == 0


def test_numbers_of_numpy_are_numbers(store):
    (parent,) = store.add_rows([{**to_row(valid(0.1)), "step": np.int64(3), "parent_id": pd.NA}])
    child = store.add(valid(0.2), prompt_kind="improve", parent=np.int64(parent), step=np.int64(4))
    assert (store.get(parent).step, store.get(child).parent_id) == (3, parent)


def test_a_parent_of_another_task_is_refused(store):
    parent = store.add(valid(0.1, task_id="other"))
    with pytest.raises(ConfigError, match=r"'other'.*'toy'"):
        store.add(valid(0.2), prompt_kind="improve", parent=parent)


def test_an_unknown_id_is_named(store):
    with pytest.raises(StoreError, match="no experience 3"):
        store.get(3)


def test_best_are_distinct_programs_in_order(store):
    for reward in (0.3, 0.9, 0.1):
        store.add(valid(reward))
    store.add(valid(0.9, code="print(0.9)  # again"))
    store.add(failed())
    store.add(valid(5.0, task_id="other"))
    assert [experience.outcome.reward for experience in store.best("toy", 9)] == [0.9, 0.3, 0.1]
    assert [experience.outcome.reward for experience in store.best("toy", 1)] == [0.9]
    assert store.best("nothing", 3) == []


def test_the_summary_counts_by_task(store):
    parent = store.add(valid(0.1))
    store.add(valid(0.4), prompt_kind="improve", parent=parent)
    store.add(failed(), prompt_kind="improve", parent=parent)
    store.add(failed(kind="fault"), prompt_kind="improve", parent=parent)
    store.add(failed(task_id="a"))
    a, toy = store.tasks()
    assert a == ("a", 1, 0, 0, None, 0, 0, 0)
    assert toy == ("toy", 4, 2, 2, 0.4, 1, 2, 1), "an infrastructure fault is no try to improve"


def test_an_empty_store_is_true(store):
    assert len(store) == 0
    assert store
    assert store.choose_parent("toy") is None
    assert store.choose_failed("toy") is None


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StoreError, match=r"experience\.sqlite is closed"):
        store.add(valid(0.1))


def test_a_copy_in_another_process_opens_the_file_itself(store):
    store.add(valid(0.1))
    with pickle.loads(pickle.dumps(store)) as copy:
        copy.add(valid(0.2))
    assert len(store) == 2
    with ExperienceStore(store.path, read_only=True) as reader, pickle.loads(pickle.dumps(reader)) as copy:
        assert len(copy) == 2
        with pytest.raises(StoreError, match="read_only"):
            copy.add(valid(0.3))


def test_threads_take_turns(store):
    def add(thread):
        for number in range(20):
            store.add(valid(thread + number / 100))

    threads = [threading.Thread(target=add, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store) == 80
    assert store.tasks()[0].candidates == 80


def test_a_store_is_read_while_it_grows(store):
    for number in range(600):
        store.add(valid(number / 1000))
    seen = []
    for experience in store:
        seen.append(experience.outcome.reward)
        store.add(valid(2.0))
    assert seen == [number / 1000 for number in range(600)], "a caller that adds comes to an end"
    assert len(store) == 1200


def test_read_only_stores_are_not_written(store):
    store.add(valid(0.1))
    with ExperienceStore(store.path, read_only=True) as reader:
        assert reader.choose_parent("toy").outcome.reward == 0.1
        with pytest.raises(StoreError, match="read_only"):
            reader.add(valid(0.2))


def test_a_task_id_that_cannot_be_stored_is_refused(store):
    with pytest.raises(ConfigError, match=r"`task_id` is .*surrogates"):
        store.add(valid(0.5, task_id="\ud800"))


def test_a_damaged_outcome_is_no_json(store):
    id_ = store.add(valid(0.5))
    for content in ("{", "[1]", "[" * 100_000):
        with store._database.write() as db:
            db.execute("UPDATE rows SET content = ?", (content,))
        with pytest.raises(StoreError, match="outcome of the store is damaged"):
            store.get(id_)
