"""Outcomes as rows: the round trip, what a row leaves out, and files of other versions."""

from __future__ import annotations

import shutil
import typing
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.support.rollouts import row, write_batch, write_run
from trl_mle.config import RewardConfig
from trl_mle.errors import ConfigError
from trl_mle.outcomes import (
    KEPT_OUTPUT_CHARS,
    OLD_COLUMNS,
    SCHEMA_VERSION,
    Column,
    from_row,
    metric_column,
    read_rollouts,
    shorten,
    stored,
    to_row,
)
from trl_mle.rewards.records import rollout_columns
from trl_mle.rewards.shaping import classify, reward_parts
from trl_mle.training.rollout_writer import RolloutWriter
from trl_mle.training.weighting.actions import OLD_SECONDS_COLUMN, SECONDS_COLUMN
from trl_mle.training.weighting.config import DURATION_COLUMNS
from trl_mle.types import (
    MILESTONES,
    PROGRAM_METRICS,
    Execution,
    ExecutionStatus,
    Grade,
    InstrumentedProgram,
    Outcome,
    Program,
    ScoreTransform,
)

# Parquet holds no lone surrogates, and a program's output has none.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
counts = st.integers(0, 2**40)
programs = st.builds(Program, plan=texts, code=texts)
medals = st.sampled_from(["gold", "silver", "bronze", None])
valid_grades = st.builds(
    Grade, numbers, st.just(True), st.none(), medals, st.none() | st.booleans(), st.none() | st.floats(0, 1)
)
grades = st.none() | valid_grades | st.builds(Grade, st.none(), st.just(False), texts)
long_texts = texts | st.builds(lambda text, times: text * times, texts, st.integers(1, 1000))
executions = st.builds(
    Execution,
    status=st.sampled_from(typing.get_args(ExecutionStatus)),
    exit_code=st.none() | st.integers(-64, 255),
    wall_s=st.floats(0, 1e6),
    cpu_s=st.floats(0, 1e6),
    max_rss_bytes=counts,
    stdout=long_texts,
    stderr=long_texts,
    stdout_cut_bytes=counts,
    stderr_cut_bytes=counts,
    milestones=st.lists(st.sampled_from(MILESTONES), unique=True).map(tuple),
    metrics=st.dictionaries(st.sampled_from(PROGRAM_METRICS), numbers),
    submission=st.none() | st.binary(max_size=20),
    submission_reason=st.none() | texts,
)


@st.composite
def outcomes(draw) -> Outcome:
    """An outcome of each way through `ProgramScorer`."""
    way = draw(st.sampled_from(["not extracted", "fault", "ran"]))
    task_id = draw(texts)
    if way == "fault":
        return Outcome(task_id, "fault", None, None, program=draw(programs), fault=draw(texts))
    execution = draw(executions) if way == "ran" else None
    public = draw(grades) if execution and execution.status in ("ok", "error") else None
    private = draw(grades) if public and public.valid else None
    kind = classify(execution, public)
    milestones = len(execution.milestones) if execution else 0
    parts = reward_parts(kind, milestones, public, "maximize", ScoreTransform(), RewardConfig())
    common = {"task_id": task_id, "kind": kind, "reward": sum(parts.values()), "reward_parts": parts}
    if execution is None:
        return Outcome(**common, duration_s=None, extraction_reason=draw(texts))
    program = draw(programs)
    fallback = draw(st.none() | texts)
    instrumented = InstrumentedProgram(
        draw(texts), program, nonce="secret",
        inserted=draw(st.lists(st.sampled_from(MILESTONES), unique=True).map(tuple)),
        fallback_reason=fallback, fallback_kind=None if fallback is None else "not_parsed",
        metrics=draw(st.lists(st.sampled_from(PROGRAM_METRICS), unique=True).map(tuple)),
        instrumenter=draw(st.sampled_from(["ast", "llm"])),
    )  # fmt: skip
    return Outcome(
        **common, duration_s=execution.wall_s, program=program, instrumented=instrumented, execution=execution,
        public=public, private=private,
    )  # fmt: skip


@given(outcomes())
def test_a_row_is_read_back_as_the_outcome_that_it_stores(outcome):
    read = from_row(to_row(outcome))
    assert read == stored(outcome)
    assert to_row(read) == to_row(outcome)
    assert stored(read) == read


@settings(max_examples=30, deadline=None)
@given(batches=st.lists(st.lists(outcomes(), min_size=1, max_size=3), min_size=1, max_size=3))
def test_outcomes_survive_the_files_of_a_run(tmp_path_factory, batches):
    """Through Parquet and a table of all batches, where missing values become NaN and lists become arrays."""
    run_dir = tmp_path_factory.mktemp("run")
    writer = RolloutWriter(run_dir / "rollouts")
    for step, batch in enumerate(batches):
        writer.write_records([{"step": step, **to_row(outcome)} for outcome in batch], step=step, kind="train")
    table = read_rollouts(run_dir)
    assert [from_row(values) for values in table.to_dict("records")] == [stored(o) for batch in batches for o in batch]
    assert list(table["batch"]) == [step for step, batch in enumerate(batches) for _ in batch]


@given(outcomes())
def test_every_row_has_every_column_with_its_type(outcome):
    values = to_row(outcome)
    assert set(values) == {*Column, *map(metric_column, PROGRAM_METRICS)}
    assert all(type(name) is str for name in values)
    for column in Column:
        assert values[column] is None or isinstance(values[column], column.kind), column


def test_a_row_holds_no_secret_and_no_submission():
    program = Program("", "print(1)")
    ran = Execution("ok", 0, 1.0, 1.0, 1, "out", "", submission=b"id,y\n")
    outcome = Outcome("toy", "failure", -10.0, 1.0, {"failure": -10.0, "milestones": 0.0}, program,
                      instrumented=InstrumentedProgram("print(1)", program, "5ecre7"), execution=ran)  # fmt: skip
    assert "5ecre7" not in str(to_row(outcome))
    assert "id,y" not in str(to_row(outcome))


def test_trl_adds_the_reward_itself():
    outcome = Outcome("toy", "fault", None, None, fault="down")
    columns = rollout_columns([outcome, outcome])
    assert set(columns) == set(to_row(outcome)) - {Column.REWARD}
    assert columns["fault"] == ["down", "down"]
    assert rollout_columns([]) == {}
    logged = {name: values[0] for name, values in rollout_columns([replace(outcome, fault=None)]).items()}
    assert from_row(logged).reward is None


def test_without_the_reward_it_is_the_sum_of_its_parts():
    values = to_row(Outcome("toy", "failure", -9.8, None, {"failure": -10.0, "milestones": 0.2}))
    del values[Column.REWARD]
    assert from_row(values).reward == pytest.approx(-9.8)


@pytest.mark.parametrize("length", [0, KEPT_OUTPUT_CHARS, KEPT_OUTPUT_CHARS + 1, 10**6])
def test_long_output_keeps_its_ends_and_is_shortened_once(length):
    text = "".join(chr(97 + index % 26) for index in range(length))
    short = shorten(text)
    assert len(short) <= KEPT_OUTPUT_CHARS
    assert shorten(short) == short
    if length <= KEPT_OUTPUT_CHARS:
        assert short == text
    else:
        start, end = short.split("\n[... ")[0], short.split(" characters left out ...]\n")[1]
        assert text.startswith(start)
        assert text.endswith(end)
        assert f"[... {length - len(start) - len(end)} characters" in short


def test_the_trainer_reads_the_columns_of_durations():
    """`training` imports no stage and nothing above one, so the names are written there again."""
    assert DURATION_COLUMNS == {"wall": Column.DURATION, "cpu": Column.CPU_DURATION}
    assert OLD_COLUMNS == {OLD_SECONDS_COLUMN: SECONDS_COLUMN}


def test_files_without_a_version_can_be_read(tmp_path):
    values = row("valid", 0.5, 1.0, 1.1)
    del values[Column.SCHEMA]
    write_batch(tmp_path, 0, [values])
    (read,) = read_rollouts(tmp_path).to_dict("records")
    outcome = from_row(read)
    assert (outcome.kind, outcome.reward, outcome.program) == ("valid", 0.5, Program("", "pass"))
    assert (outcome.public, outcome.private) == (Grade(1.0, True), Grade(1.1, True))


def test_old_names_of_columns_are_read_as_the_present_ones(tmp_path):
    write_batch(tmp_path, 0, [{**row("valid", 0.5), "action_durations": [1.0, 2.0]}])
    write_batch(tmp_path, 1, [{**row("valid", 0.5), "per_action_durations": [3.0]}])
    write_batch(tmp_path, 2, [{**row("valid", 0.5), "action_durations": [9.0], "per_action_durations": [4.0]}])
    table = read_rollouts(tmp_path)
    assert [list(seconds) for seconds in table["per_action_durations"]] == [[1.0, 2.0], [3.0], [4.0]]
    assert "action_durations" not in table


def test_files_of_a_newer_version_are_refused(tmp_path):
    newer = {**row("valid", 0.5), Column.SCHEMA: SCHEMA_VERSION + 1}
    path = write_batch(tmp_path, 0, [newer])
    with pytest.raises(ConfigError, match=rf"`schema_version` {SCHEMA_VERSION + 1}.*Upgrade trl_mle"):
        read_rollouts(tmp_path)
    with pytest.raises(ConfigError, match="Upgrade"):
        from_row(pd.read_parquet(path).to_dict("records")[0])


def test_a_lost_completion_is_no_outcome():
    with pytest.raises(ConfigError, match=r"no `kind`.*no outcome"):
        from_row({"kind": float("nan"), "task_id": None, "action_duration": 4.0})


def test_a_folder_without_rollouts_is_named(tmp_path):
    with pytest.raises(ConfigError, match="No rollouts in"):
        read_rollouts(tmp_path)


def test_rollouts_of_a_moved_run_are_still_found(tmp_path):
    run_dir = write_run(tmp_path / "run")
    moved = tmp_path / "moved"
    shutil.move(run_dir, moved)
    assert len(read_rollouts(moved)) == 20


def test_batches_stand_in_their_order(tmp_path):
    for step, number in ((0, 11), (0, 100), (0, 2), (1_000_000, 0), (999_999, 0)):
        path = write_batch(tmp_path, 0, [row("valid", 0.5) | {"made": step + number}])
        path.rename(path.with_name(f"moved_{step:06d}_{number:02d}"))
    for path in (tmp_path / "rollouts").glob("moved*"):
        path.rename(path.with_name(path.name.replace("moved", "train") + ".parquet"))
    table = read_rollouts(str(tmp_path))
    assert list(table["made"]) == [2, 11, 100, 999_999, 1_000_000]
    assert list(table["batch"]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("column", "value"),
    [("mle_reward", "abc"), ("schema_version", "new"), ("step", None), ("step", "x"), ("action_duration", [1])],
)
def test_a_file_with_other_values_is_left_out(tmp_path, caplog, column, value):
    write_batch(tmp_path, 0, [row("valid", 0.5)])
    damaged = write_batch(tmp_path, 1, [row("valid", 0.5)])
    pd.read_parquet(damaged).assign(**{column: [value]}).to_parquet(damaged)
    assert len(read_rollouts(tmp_path)) == 1
    assert f"Left out {damaged}" in caplog.text
    if column in list(Column):
        with pytest.raises(ConfigError, match=f"`{column}` is"):
            from_row(row("valid", 0.5) | {column: value})


@pytest.mark.parametrize("value", [float("inf"), 2**63, -(2**70), 1e30])
def test_a_whole_number_that_no_table_holds_is_named(value):
    with pytest.raises(ConfigError, match=r"`exit_code` is .*not of the type int"):
        from_row(row("valid", 0.5) | {"exit_code": value})


def test_files_without_a_rollout_are_named(tmp_path):
    path = write_batch(tmp_path, 0, [row("valid", 0.5)])
    pd.read_parquet(path)[:0].to_parquet(path)
    with pytest.raises(ConfigError, match="hold no rollout"):
        read_rollouts(tmp_path)


def test_missing_values_of_any_kind_are_missing():
    values = row("valid", 0.5) | {
        "status": "ok",
        "exit_code": np.float32("nan"),
        "private_score": pd.NA,
        "stdout": pd.NaT,
        "milestones": np.array([]),
    }
    outcome = from_row(values)
    assert (outcome.execution.exit_code, outcome.private, outcome.execution.stdout) == (None, None, "")


def damage_metadata(path):
    table = pyarrow.Table.from_pandas(pd.read_parquet(path))
    metadata = table.schema.metadata[b"pandas"].replace(b'"pandas_type"', b'"pandas_typo"')
    parquet.write_table(table.replace_schema_metadata({b"pandas": metadata}), path)


@pytest.mark.parametrize("damage", [damage_metadata, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_a_damaged_file_is_left_out_and_named(tmp_path, caplog, damage):
    run_dir = write_run(tmp_path / "run")
    damaged, *whole = sorted((run_dir / "rollouts").iterdir())
    damage(damaged)
    rollouts = read_rollouts(run_dir)
    assert sorted(set(rollouts["batch"])) == list(range(1, len(whole) + 1))
    assert str(damaged) in caplog.text
