"""`Outcome` as a row of a table, and back: the column names, their types and units, and the version of the schema.

A row holds everything that is worth keeping of an outcome. It leaves out the secret nonce and the submission's content, and
it shortens long output. The trainer writes rows to Parquet files, beside columns of its own ([`RunColumn`]).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError
from trl_mle.hub_files import is_hub_name, pull_files
from trl_mle.types import PROGRAM_METRICS, Execution, Grade, InstrumentedProgram, Outcome, Program

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
"""Version of the columns below. It rises when a column changes its meaning; a new column is no reason. Rows without a version
were written before there was one and have the columns of version 1, or fewer."""

KEPT_OUTPUT_CHARS = 4000
"""Most characters of stdout, and of stderr, in a row: the first and the last half."""


class Column(StrEnum):
    """Name of each column of an outcome, with the type of its values and their unit. Every value may be missing (`None`)."""

    def __new__(cls, name: str, kind: type, unit: str = "") -> Column:
        member = str.__new__(cls, name)
        member._value_ = name
        member.kind = kind
        member.unit = unit
        return member

    kind: type
    """Type of the values; `list` is a list of `str`."""
    unit: str
    """Unit of a number, or an empty string."""

    SCHEMA = "schema_version", int
    """Version of the columns, `SCHEMA_VERSION`."""
    TASK_ID = "task_id", str
    """For example `builtin:digits`."""
    KIND = "kind", str
    """`OutcomeKind`."""
    REWARD = "mle_reward", float
    """The scalar for the trainer. TRL names it after the reward function."""
    DURATION = "action_duration", float, "s"
    """Wall-clock time of the program; missing for a completion that never ran."""
    CPU_DURATION = "action_cpu_duration", float, "s"
    """CPU time of the program and its children; missing for a completion that never ran."""
    CENSORED = "action_censored", bool
    """Whether the duration is a lower bound, because the program was stopped at its time limit."""
    FAULT = "fault", str
    """Message of the infrastructure fault; the reward is missing."""
    EXTRACTION_REASON = "extraction_reason", str
    """Why no program was found in the completion."""
    PLAN = "plan", str
    """Text before the program."""
    PROGRAM = "program", str
    """The program as the policy wrote it."""
    INSTRUMENTED_PROGRAM = "instrumented_program", str
    """The program with its marks, as it ran."""
    INSTRUMENTER = "instrumenter", str
    """Which instrumenter was asked: `ast` or `llm`."""
    INSTRUMENTED_MILESTONES = "instrumented_milestones", list
    """Milestones for which marks were inserted."""
    INSTRUMENTED_METRICS = "instrumented_metrics", list
    """Named metrics for which prints were inserted."""
    FALLBACK = "instrumentation_fallback", str
    """Why the program ran without marks, or with those of a simpler instrumenter."""
    FALLBACK_KIND = "instrumentation_fallback_kind", str
    """That reason as a short identifier, one of `FALLBACK_KINDS`."""
    STATUS = "status", str
    """`ExecutionStatus`."""
    EXIT_CODE = "exit_code", int
    """Exit code of the program; negative for a signal."""
    MAX_RSS = "max_rss_bytes", int, "bytes"
    """Largest resident memory of the program."""
    STDOUT = "stdout", str
    """Standard output, its middle cut out beyond `KEPT_OUTPUT_CHARS`."""
    STDERR = "stderr", str
    """Standard error, cut in the same way."""
    STDOUT_CUT = "stdout_cut_bytes", int, "bytes"
    """Bytes of standard output that the sandbox discarded at its limit."""
    STDERR_CUT = "stderr_cut_bytes", int, "bytes"
    """Bytes of standard error that the sandbox discarded at its limit."""
    SUBMISSION_REASON = "submission_reason", str
    """Why there is no submission although a file of that name exists."""
    MILESTONES = "milestones", list
    """Milestones whose marks were seen."""
    PUBLIC_SCORE = "public_score", float
    """Raw score in the metric's own unit, as the private one."""
    PRIVATE_SCORE = "private_score", float
    """Score on the private part of the answers, which is only reported."""
    PUBLIC_MEDAL = "public_medal", str
    """Medal that the public score would have won, as the private one; missing without a leaderboard."""
    PRIVATE_MEDAL = "private_medal", str
    """Medal that the private score would have won."""
    PUBLIC_ABOVE_MEDIAN = "public_above_median", bool
    """Whether the public score is above the median of the leaderboard."""
    PRIVATE_ABOVE_MEDIAN = "private_above_median", bool
    """Whether the private score is above the median of the leaderboard."""
    PUBLIC_PERCENTILE = "public_percentile", float
    """Share of the leaderboard that is worse."""
    PRIVATE_PERCENTILE = "private_percentile", float
    """Share of the leaderboard that the private score beats."""
    INVALID_REASON = "invalid_reason", str
    """What is wrong with the submission, by the public part."""
    PRIVATE_INVALID_REASON = "private_invalid_reason", str
    """What is wrong with the submission, by the private part."""
    REWARD_FAILURE = "reward_failure", float
    """Part of the reward of a failure or a time-out: `failure_reward`."""
    REWARD_MILESTONES = "reward_milestones", float
    """Part of the reward of a failure or a time-out: what its milestones add."""
    REWARD_SCORE = "reward_score", float
    """Part of the reward of a valid submission: its score, from -1 to 1, higher is better."""


class RunColumn(StrEnum):
    """Columns of a rollout that the trainer or `read_rollouts` adds to those of its outcome."""

    STEP = "step"
    """Optimizer steps before the rollout was generated."""
    BATCH = "batch"
    """Number of the generation batch, from 0."""
    PROMPT_KIND = "prompt_kind"
    """What the prompt asked for, a `PromptKind`."""
    PARENT = "parent_id"
    """Id of the earlier outcome that the prompt showed, in the run's `ExperienceStore`; missing for a prompt from scratch."""
    PARENT_SCORE = "parent_score"
    """Public score of that outcome on the scale of the reward, in [-1, 1]; missing if it failed."""
    DEPTH = "lineage_depth"
    """Number of earlier outcomes in its lineage: 0 from scratch."""
    PER_ACTION_DURATIONS = "per_action_durations"
    """Seconds of each action of a completion; an action is a message of the policy."""
    PER_ACTION_REWARDS = "per_action_rewards"
    """What each action adds to the reward."""
    PER_ACTION_WEIGHTS = "per_action_weights"
    """List: duration weight of each action."""
    PER_ACTION_ADVANTAGES = "per_action_advantages"
    """List: advantage of each action, before it is weighted. That of the rollout with `turn_credit: episode`."""
    TURNS = "turns"
    """Tool calls of an agent, as JSON text (`trl_mle.environments.read_turns`)."""
    PROGRAMS_RUN = "programs_run"
    """Programs that an agent ran. The columns of the outcome are those of the one that counts; durations are those of all."""
    SUBMITTED = "submitted"
    """Whether an agent submitted. Without it, its last valid submission counts all the same."""


OLD_COLUMNS = {"action_durations": "per_action_durations"}
"""Old name of a column in rollouts of earlier versions -> present name."""

PARTS = {"failure": Column.REWARD_FAILURE, "milestones": Column.REWARD_MILESTONES, "score": Column.REWARD_SCORE}
"""Name of each reward part -> its column."""


def metric_column(name: str) -> str:
    """Column of one of `PROGRAM_METRICS`: a number that a program reports of itself."""
    return f"metric_{name}"


def to_row(outcome: Outcome) -> dict[str, Any]:
    """Column name -> value. Every row has the same columns."""
    execution, instrumented, program = outcome.execution, outcome.instrumented, outcome.program
    public, private = outcome.public, outcome.private
    row: dict[str, Any] = {
        Column.SCHEMA: SCHEMA_VERSION,
        Column.TASK_ID: outcome.task_id,
        Column.KIND: outcome.kind,
        Column.REWARD: outcome.reward,
        Column.DURATION: outcome.duration_s,
        Column.CPU_DURATION: execution.cpu_s if execution else None,
        Column.CENSORED: outcome.kind == "timeout",
        Column.FAULT: outcome.fault,
        Column.EXTRACTION_REASON: outcome.extraction_reason,
        Column.PLAN: program.plan if program else None,
        Column.PROGRAM: program.code if program else None,
        Column.INSTRUMENTED_PROGRAM: instrumented.code if instrumented else None,
        Column.INSTRUMENTER: instrumented.instrumenter if instrumented else None,
        Column.INSTRUMENTED_MILESTONES: list(instrumented.inserted) if instrumented else [],
        Column.INSTRUMENTED_METRICS: list(instrumented.metrics) if instrumented else [],
        Column.FALLBACK: instrumented.fallback_reason if instrumented else None,
        Column.FALLBACK_KIND: instrumented.fallback_kind if instrumented else None,
        Column.STATUS: execution.status if execution else None,
        Column.EXIT_CODE: execution.exit_code if execution else None,
        Column.MAX_RSS: execution.max_rss_bytes if execution else None,
        Column.STDOUT: shorten(execution.stdout) if execution else None,
        Column.STDERR: shorten(execution.stderr) if execution else None,
        Column.STDOUT_CUT: execution.stdout_cut_bytes if execution else None,
        Column.STDERR_CUT: execution.stderr_cut_bytes if execution else None,
        Column.SUBMISSION_REASON: execution.submission_reason if execution else None,
        Column.MILESTONES: list(execution.milestones) if execution else [],
        **{metric_column(name): execution.metrics.get(name) if execution else None for name in PROGRAM_METRICS},
        Column.PUBLIC_SCORE: public.score if public else None,
        Column.PRIVATE_SCORE: private.score if private else None,
        Column.PUBLIC_MEDAL: public.medal if public else None,
        Column.PRIVATE_MEDAL: private.medal if private else None,
        Column.PUBLIC_ABOVE_MEDIAN: public.above_median if public else None,
        Column.PRIVATE_ABOVE_MEDIAN: private.above_median if private else None,
        Column.PUBLIC_PERCENTILE: public.percentile if public else None,
        Column.PRIVATE_PERCENTILE: private.percentile if private else None,
        Column.INVALID_REASON: public.reason if public else None,
        Column.PRIVATE_INVALID_REASON: private.reason if private else None,
        **{column: outcome.reward_parts.get(part) for part, column in PARTS.items()},
    }
    return {str(name): value for name, value in row.items()}


def from_row(row: Mapping[str, Any]) -> Outcome:
    """The outcome of a row, as `to_row` or a row of `read_rollouts` has it: `from_row(to_row(o)) == stored(o)`.

    Columns that the row lacks count as missing values, so that files of earlier versions can be read.

    Raises:
        ConfigError: the row holds no outcome (its completion was lost before it was scored), or has a newer schema.
    """
    values = {column: _value(row, column, column.kind) for column in Column}
    _check_version(values[Column.SCHEMA])
    if values[Column.KIND] is None or values[Column.TASK_ID] is None:
        raise ConfigError(f"The row has no `{Column.KIND}` or no `{Column.TASK_ID}`: it holds no outcome.")
    parts = {part: values[column] for part, column in PARTS.items() if values[column] is not None}
    reward = values[Column.REWARD]
    if reward is None and parts:
        reward = sum(parts.values())
    program = None
    if values[Column.PROGRAM] is not None:
        program = Program(values[Column.PLAN] or "", values[Column.PROGRAM])
    return Outcome(
        task_id=values[Column.TASK_ID],
        kind=values[Column.KIND],
        reward=reward,
        duration_s=values[Column.DURATION],
        reward_parts=parts,
        program=program,
        extraction_reason=values[Column.EXTRACTION_REASON],
        instrumented=_instrumented(values, program),
        execution=_execution(values, row),
        public=_grade(values, "PUBLIC", Column.INVALID_REASON),
        private=_grade(values, "PRIVATE", Column.PRIVATE_INVALID_REASON),
        fault=values[Column.FAULT],
    )


def stored(outcome: Outcome) -> Outcome:
    """`outcome` as a row keeps it: without nonce and submission, and with long output shortened."""
    instrumented, execution = outcome.instrumented, outcome.execution
    if instrumented is not None:
        instrumented = replace(instrumented, nonce="")
    if execution is not None:
        execution = replace(
            execution, submission=None, stdout=shorten(execution.stdout), stderr=shorten(execution.stderr)
        )
    return replace(outcome, instrumented=instrumented, execution=execution)


def read_rollouts(run_dir: Path | str, mode: str = "train") -> pd.DataFrame:
    """Every rollout of the run in order, with a column `batch` that counts generation batches from 0.

    Columns that earlier versions named otherwise have their present names. A file that cannot be read is left out, with a
    warning that names it.

    Args:
        run_dir (`Path` or `str`):
            The `output_dir` of a run, or `"hub:user/name"`: a data set of the Hub that `push_rollouts` has made.
        mode (`str`, *optional*, defaults to `"train"`):
            `"train"`, `"eval"` or `"lost"`.

    Raises:
        ConfigError: there are no rollouts in `run_dir`, or they have a newer schema.
    """
    import pandas as pd

    if is_hub_name(run_dir):
        run_dir = pull_files(str(run_dir), [f"rollouts/{mode}_*.parquet"])
    folder = Path(run_dir) / "rollouts"
    files = sorted(folder.glob(f"{mode}_*.parquet"), key=_order)
    if not files:
        raise ConfigError(f"No rollouts in {folder}. Give the `output_dir` of a run that has trained.")
    # A damaged file keeps its place, so that the numbers of the other batches stay.
    read = [(batch, _read_file(file)) for batch, file in enumerate(files)]
    frames = [_renamed(frame).assign(**{RunColumn.BATCH: batch}) for batch, frame in read if frame is not None]
    if not frames:
        raise ConfigError(f"None of the {len(files)} files in {folder} can be read; the first is {files[0]}.")
    if not any(len(frame) for frame in frames):
        raise ConfigError(f"The {len(files)} files in {folder} hold no rollout. Has the run trained?")
    for frame in frames:
        if Column.SCHEMA in frame and (versions := frame[Column.SCHEMA].dropna()).size:
            _check_version(int(versions.max()))
    # Columns without a value have no type of their own, and pandas warns where it has to guess one.
    rollouts = pd.concat([frame.dropna(axis="columns", how="all") for frame in frames], ignore_index=True).reindex(
        columns=list(dict.fromkeys(name for frame in frames for name in frame.columns))
    )
    return _completed(rollouts) if Column.KIND in rollouts else rollouts


def _order(path: Path) -> list[tuple[int, str]]:
    """Files by step and number as whole numbers: `train_000000_100` stands behind `train_000000_99`."""
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in path.stem.split("_")]


def _completed(rollouts: pd.DataFrame) -> pd.DataFrame:
    """Rollouts of outcomes with every column that a summary reads.

    A run with several reward functions has a column per function. The reward of the outcome is then the sum of its parts.
    """
    parts = [column for column in PARTS.values() if column in rollouts]
    if Column.REWARD not in rollouts:
        sums = rollouts[parts].astype(float).sum(axis="columns", min_count=1) if parts else math.nan
        rollouts = rollouts.assign(**{Column.REWARD: sums})
    missing = {column: math.nan if column.kind is float else None for column in Column if column not in rollouts}
    return rollouts.assign(**missing) if missing else rollouts


def _read_file(path: Path) -> pd.DataFrame | None:
    """Content of one file, or `None` if it is damaged."""
    import pandas as pd

    try:
        # By handle: of a path, pandas reads folder names such as `seed=1` as columns.
        with path.open("rb") as file:
            frame = pd.read_parquet(file)
        _check_numbers(frame)
        return frame
    except Exception as error:  # damaged metadata raise whatever pandas stumbles over: KeyError, TypeError
        logger.warning("Left out %s, which cannot be read: %s: %s", path, type(error).__name__, error)
        return None


def _check_numbers(frame: pd.DataFrame) -> None:
    """Raise `ValueError` if rollouts of outcomes have text where numbers belong, or no step: no summary can be made of them."""
    import pandas as pd

    if not {Column.KIND, Column.TASK_ID} <= set(frame):
        return
    if RunColumn.STEP not in frame or frame[RunColumn.STEP].isna().any():
        raise ValueError(f"rollouts without a `{RunColumn.STEP}`")
    for column in (RunColumn.STEP, *Column):
        if column in frame and getattr(column, "kind", int) in (int, float):
            try:
                pd.to_numeric(frame[column])
            except (TypeError, ValueError) as error:
                raise ValueError(f"`{column}` holds no numbers: {error}") from error


def _renamed(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the present names of its columns. Where both names are there, the old column is dropped."""
    doubled = [old for old, new in OLD_COLUMNS.items() if old in frame and new in frame]
    return frame.drop(columns=doubled).rename(columns=OLD_COLUMNS)


def shorten(text: str, limit: int = KEPT_OUTPUT_CHARS) -> str:
    """`text`, or at most `limit` characters of it: its two ends, with the number of characters left out between them."""
    if len(text) <= limit:
        return text
    # The note's length is that of the largest count, so that the result keeps to the limit and is not shortened again.
    half = (limit - len(_left_out(len(text)))) // 2
    return f"{text[:half]}{_left_out(len(text) - 2 * half)}{text[-half:]}"


def _left_out(characters: int) -> str:
    return f"\n[... {characters} characters left out ...]\n"


def _check_version(version: int | None) -> None:
    if version is not None and version > SCHEMA_VERSION:
        raise ConfigError(
            f"These rollouts have `{Column.SCHEMA}` {version}, but this version of trl_mle reads at most {SCHEMA_VERSION}. "
            "Upgrade trl_mle."
        )


def _instrumented(values: Mapping[Column, Any], program: Program | None) -> InstrumentedProgram | None:
    if program is None or values[Column.INSTRUMENTED_PROGRAM] is None:
        return None
    return InstrumentedProgram(
        code=values[Column.INSTRUMENTED_PROGRAM],
        program=program,
        nonce="",
        inserted=tuple(values[Column.INSTRUMENTED_MILESTONES] or ()),
        fallback_reason=values[Column.FALLBACK],
        fallback_kind=values[Column.FALLBACK_KIND],
        metrics=tuple(values[Column.INSTRUMENTED_METRICS] or ()),
        instrumenter=values[Column.INSTRUMENTER] or "ast",
    )


def _execution(values: Mapping[Column, Any], row: Mapping[str, Any]) -> Execution | None:
    if values[Column.STATUS] is None:
        return None
    metrics = {name: _value(row, metric_column(name), float) for name in PROGRAM_METRICS}
    return Execution(
        status=values[Column.STATUS],
        exit_code=values[Column.EXIT_CODE],
        wall_s=values[Column.DURATION] or 0.0,
        cpu_s=values[Column.CPU_DURATION] or 0.0,
        max_rss_bytes=values[Column.MAX_RSS] or 0,
        stdout=values[Column.STDOUT] or "",
        stderr=values[Column.STDERR] or "",
        stdout_cut_bytes=values[Column.STDOUT_CUT] or 0,
        stderr_cut_bytes=values[Column.STDERR_CUT] or 0,
        milestones=tuple(values[Column.MILESTONES] or ()),
        metrics={name: value for name, value in metrics.items() if value is not None},
        submission_reason=values[Column.SUBMISSION_REASON],
    )


def _grade(values: Mapping[Column, Any], part: str, reason_column: Column) -> Grade | None:
    """A grade has a score or a reason why it has none; without both, nothing was graded. `part`: `PUBLIC` or `PRIVATE`."""
    score, reason = values[Column[f"{part}_SCORE"]], values[reason_column]
    if score is None and reason is None:
        return None
    medal, above_median, percentile = (
        values[Column[f"{part}_{name}"]] for name in ("MEDAL", "ABOVE_MEDIAN", "PERCENTILE")
    )
    return Grade(score, score is not None, reason, medal, above_median, percentile)


def _value(row: Mapping[str, Any], name: str, kind: type) -> Any:
    """The value of a column as `kind`, or `None`: a table holds missing values as `None` or NaN, and lists as arrays."""
    import pandas as pd

    value = row.get(name)
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return None
    try:
        plain: Any = [str(item) for item in value] if kind is list else kind(value)
        if kind is int and not -(2**63) <= plain < 2**63:  # no table holds it, so no export could be written
            raise OverflowError
        return plain
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"`{name}` is {value!r}, not of the type {kind.__name__}.") from error
