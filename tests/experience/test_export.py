"""From one store to a file or the Hub, and from there into another store."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from unittest.mock import create_autospec

import huggingface_hub
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.support.experience import failed, valid
from tests.support.rollouts import row, write_batch, write_run
from tests.test_outcomes import outcomes
from trl_mle import ExperienceStore
from trl_mle.errors import StoreError
from trl_mle.experience import STORE_FILE
from trl_mle.experience.export import EXPORT_FILE, VERSION_KEY
from trl_mle.outcomes import SCHEMA_VERSION, Column, stored


def lineage(store: ExperienceStore) -> list[int]:
    """Two tasks, a chain of three, and an outcome that no longer counts."""
    first = store.add(valid(0.1), step=1)
    store.add(valid(7.0))
    store.rewind(first)
    second = store.add(valid(0.2), prompt_kind="improve", parent=first, step=2)
    store.add(failed(task_id="other"))
    third = store.add(failed(), prompt_kind="debug", parent=second, step=3)
    return [first, second, third]


def facts(store: ExperienceStore) -> list[tuple]:
    """What counts in a store, with parents named by their place."""
    places = {experience.id: place for place, experience in enumerate(store)}
    return [
        (each.outcome, each.prompt_kind, each.parent_id and places[each.parent_id], each.step, each.depth)
        for each in store
    ]


@pytest.mark.parametrize("way", ["store", "export", "folder with a store", "folder with an export"])
def test_everything_that_counts_reaches_the_other_store(tmp_path, store, way):
    lineage(store)
    source = store.path
    if way == "export":
        source = tmp_path / "any.parquet"
        assert store.export(source) == 4
    elif way == "folder with an export":
        source = tmp_path / "folder"
        source.mkdir()
        store.export(source / EXPORT_FILE)
    elif way == "folder with a store":
        source = tmp_path
        assert store.path.name == STORE_FILE
    with ExperienceStore(tmp_path / "new.sqlite") as new:
        new.add(valid(3.0, task_id="before"))
        assert new.import_from(source) == 4
        before, *rest = facts(new)
        assert before[0].task_id == "before"
        assert [(*fact[:2], fact[2] and fact[2] - 1, *fact[3:]) for fact in rest] == facts(store)
        assert new.tasks()[-1] == store.tasks()[-1]


@settings(max_examples=8, deadline=None)
@given(batch=st.lists(outcomes(), min_size=1, max_size=4))
def test_any_outcome_survives_an_export(tmp_path_factory, batch):
    folder = tmp_path_factory.mktemp("export")
    with ExperienceStore(folder / "a.sqlite") as store, ExperienceStore(folder / "b.sqlite") as new:
        for outcome in batch:
            store.add(outcome)
        store.export(folder / "a.parquet")
        assert new.import_from(folder / "a.parquet") == len(batch)
        assert [experience.outcome for experience in new] == [stored(outcome) for outcome in batch]


def test_an_export_is_a_table(tmp_path, store):
    first, second, _ = lineage(store)
    store.export(tmp_path / "x.parquet")
    table = pd.read_parquet(tmp_path / "x.parquet")
    assert list(table["parent_id"].fillna(0)) == [0, first, 0, second]
    assert list(table["depth"]) == [0, 1, 0, 2]
    assert list(table["public_score"].fillna(-1)) == [0.1, 0.2, -1, -1]
    assert set(Column) < set(table.columns)


def test_an_empty_export_has_its_columns_too(tmp_path, store):
    assert store.export(tmp_path / "x.parquet") == 0
    assert "program" in pd.read_parquet(tmp_path / "x.parquet")
    with pytest.raises(StoreError, match="holds no experience"):
        store.import_from(tmp_path / "x.parquet")


def test_text_that_parquet_cannot_hold_is_marked(tmp_path, store):
    store.add(valid(0.5, code="x = '\ud800é'"))
    store.export(tmp_path / "x.parquet")
    assert list(pd.read_parquet(tmp_path / "x.parquet")["program"]) == ["x = '?é'"]


def test_an_export_that_cannot_be_written_leaves_nothing(tmp_path, store):
    store.add(valid(0.5))
    with pytest.raises(StoreError, match=r"export .*none/x\.parquet cannot be written"):
        store.export(tmp_path / "none/x.parquet")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder cannot be written"):
        store.export(tmp_path / "folder")
    with pytest.raises(StoreError, match="this store itself"):
        store.export(store.path)
    assert len(store) == 1
    assert {name for name in os.listdir(tmp_path) if name.startswith(".")} == set()


@pytest.mark.parametrize("content", ["{", '{"stdout": 7}', f'{{"max_rss_bytes": {10**30}}}'])
def test_an_outcome_that_is_damaged_is_named_and_no_file_is_left(tmp_path, store, content):
    store.add(valid(0.5))
    with closing(sqlite3.connect(store.path)) as other, other:
        other.execute("UPDATE rows SET content = ?", (content,))
    with pytest.raises(StoreError, match="damaged"):
        store.export(tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*.parquet")) + list(tmp_path.glob(".out*"))


def test_tasks_are_filtered_and_their_names_told(tmp_path, store):
    lineage(store)
    with ExperienceStore(tmp_path / "new.sqlite") as new:
        assert new.import_from(store.path, tasks=["other", "unknown"]) == 1
        assert [task.task_id for task in new.tasks()] == ["other"]
        with pytest.raises(StoreError, match="no experience of unknown; it has those of other, toy"):
            new.import_from(store.path, tasks=["unknown"])
        assert len(new) == 1
        with pytest.raises(StoreError, match="no experience of other tasks; it has"):
            new.import_from(store.path, tasks="other tasks")
        assert new.import_from(store.path, tasks="other") == 1


def test_a_child_without_its_parent_has_none(tmp_path, store):
    parent = store.add(valid(0.1))
    store.rewind(0)
    store.add(valid(0.2), prompt_kind="improve", parent=parent)
    with ExperienceStore(tmp_path / "new.sqlite") as new:
        new.import_from(store.path)
        (child,) = new
        assert (child.parent_id, child.depth, child.prompt_kind) == (None, 0, "improve")


def test_rollouts_of_a_run_without_a_store(tmp_path, store):
    write_batch(tmp_path / "agent", 0, [{**row("valid", 3.0, 3.0), "turns": "[]"}])
    with pytest.raises(StoreError, match="agent are those of agents"):
        store.import_from(tmp_path / "agent")
    run_dir = write_run(tmp_path / "run")
    write_batch(run_dir, 11, [{**row("valid", 3.0, 3.0), "parent_id": 5, "prompt_kind": "improve"}, row(None, None)])
    assert store.import_from(run_dir) == 21, "a completion that was lost has no outcome"
    assert store.best("toy")[0].outcome.reward == 3.0
    assert store.best("toy")[0].parent_id is None
    assert [experience.step for experience in store][-3:] == [9, 9, 11]


def broken_export(path, store, **changes):
    store.export(path)
    table = parquet.read_table(path)
    for name, value in changes.items():
        if name == "version":
            table = table.replace_schema_metadata({VERSION_KEY: value})
        else:
            table = pd.DataFrame(table.to_pandas()).assign(**{name: value})
            table = table.drop(columns=name) if value is None else table
            table.to_parquet(path)
            return
    parquet.write_table(table, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": b"2"}, "version 2.*Upgrade trl_mle"),
        ({"version": b"9" * 5000}, "version 999999.*Upgrade"),
        ({"schema_version": SCHEMA_VERSION + 1}, "Upgrade trl_mle"),
        ({"kind": "brilliant"}, "no outcome: `kind` is 'brilliant'"),
        ({"kind": None}, "no column `kind`"),
        ({"mle_reward": "high"}, "`mle_reward` is 'high'"),
    ],
)
def test_an_export_of_another_kind_adds_nothing(tmp_path, store, changes, message):
    lineage(store)
    broken_export(tmp_path / "x.parquet", store, **changes)
    with ExperienceStore(tmp_path / "new.sqlite") as new:
        with pytest.raises(StoreError, match=message):
            new.import_from(tmp_path / "x.parquet")
        assert len(new) == 0


def test_what_cannot_be_imported_is_named(tmp_path, store):
    store.add(valid(0.5))
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1" + bytes(100))
    store.export(tmp_path / "letters.parquet")
    table = parquet.read_table(tmp_path / "letters.parquet")
    at = table.schema.get_field_index("stdout")
    noise = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0])), pa.py_buffer(b"\xff")]
    )
    parquet.write_table(table.set_column(at, "stdout", noise), tmp_path / "letters.parquet")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name, message in (
        ("damaged.parquet", r"damaged\.parquet cannot be read"),
        ("letters.parquet", r"letters\.parquet cannot be read"),
        ("text", "text is not an experience store"),
        ("folder", "holds no experience.sqlite"),
        ("none", "There is no .*none"),
        (STORE_FILE, "this store itself"),
        (".", "this store itself"),
    ):
        with pytest.raises(StoreError, match=message):
            store.import_from(tmp_path / name)
    assert len(store) == 1


def test_a_push_uploads_the_export_with_a_card(tmp_path, store, monkeypatch):
    lineage(store)
    hub = create_autospec(huggingface_hub.HfApi)
    hub.return_value.create_repo.return_value = "https://hub/datasets/me/experience"
    hub.return_value.upload_folder.side_effect = lambda folder_path, **how: shutil.copytree(
        folder_path, tmp_path / "hub"
    )
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    assert store.push_to_hub("me/experience", token="secret") == "https://hub/datasets/me/experience"
    hub.assert_called_once_with(token="secret")
    hub.return_value.create_repo.assert_called_once_with(
        "me/experience", repo_type="dataset", private=True, exist_ok=True
    )
    assert hub.return_value.upload_folder.call_args.kwargs["repo_type"] == "dataset"
    assert "4 outcomes" in (tmp_path / "hub/README.md").read_text()
    with ExperienceStore(tmp_path / "new.sqlite") as new:
        assert new.import_from(tmp_path / "hub") == 4


@pytest.mark.parametrize("name", ["me/experience", "no such/name/at all"])
def test_a_hub_that_cannot_be_reached_is_named(store, name):
    """Tests are offline."""
    store.add(valid(0.5))
    with pytest.raises(StoreError, match=r"could not be pushed to .*`export` writes the same file"):
        store.push_to_hub(name)
