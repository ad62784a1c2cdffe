"""The frozen records that travel from the task to the trainer.

Nothing here knows how a record is made or used; every stage imports from this module and none from another stage.
Units are part of every field: seconds, bytes, or a plain count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

Direction = Literal["maximize", "minimize"]
Split = Literal["public", "private", "all"]
ExecutionStatus = Literal["ok", "error", "timeout", "memory", "output", "killed"]
OutcomeKind = Literal["valid", "failure", "timeout", "fault"]
PromptKind = Literal["scratch", "improve", "debug"]
"""`scratch`: the task alone. `improve`: with an earlier valid program. `debug`: with an earlier program that failed."""


class Milestone(StrEnum):
    """A step of a program that is worth partial credit (paper, section on environment instrumentation).

    A member is a `str`. Files, pickles, logs and marks hold the plain name.
    """

    IMPORTED_LIBRARIES = "imported_libraries"
    """A library for data or machine learning was imported."""
    LOADED_DATA = "loaded_data"
    """The training data was read from its file."""
    BUILT_FEATURES = "built_features"
    """The inputs of the model exist."""
    DEFINED_MODEL = "defined_model"
    """The model object, or the parameters that training changes, exist."""
    TRAINED_MODEL = "trained_model"
    """Training finished."""
    EVALUATED_MODEL = "evaluated_model"
    """A score or loss on held-out data was computed."""
    WROTE_PREDICTIONS = "wrote_predictions"
    """`submission.csv` was written."""

    __repr__ = str.__repr__  # a list of milestones in a CSV file or a log shows plain names

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return str, (self.value,)  # a pickle can be read without this package, and by `torch.load(weights_only=True)`


MILESTONES: tuple[Milestone, ...] = tuple(Milestone)
"""All milestones, in the order in which a program reaches them."""

PROGRAM_METRICS: tuple[str, ...] = ("training_loss", "training_score", "validation_score")
"""The named numbers that an instrumented program may report. They are worth no reward."""


@dataclass(frozen=True)
class ScoreTransform:
    """How a raw score becomes a number in [-1, 1] where higher is better. Of two scores, the better one always gets more."""

    kind: Literal["identity", "linear", "log", "percentile"] = "identity"
    """`identity`: the score itself, sign flipped where lower is better. `linear`: `worst` is at -1 and `best` at 1. `log`: as
    `linear`, on the logarithm of the score. `percentile`: the rank on `leaderboard`. Beyond -0.8 and 0.8, values are squashed."""
    worst: float | None = None
    """Raw score at -1 (`linear` and `log` only)."""
    best: float | None = None
    """Raw score at 1 (`linear` and `log` only)."""
    optimum: float | None = None
    """Raw score of a perfect submission; `None` if it is not known. If no score can be beyond 1, nothing is squashed up to 1."""
    leaderboard: tuple[float, ...] = ()
    """Raw scores of others, in any order (`percentile` only)."""


@dataclass(frozen=True)
class TaskSpec:
    """What every stage may know of a task. The answers are not part of it: only `trl_mle.tasks.Task` can grade."""

    id: str
    """For example `builtin:digits`, or the folder's name."""
    title: str
    """One line, shown in tables."""
    description: str
    """The text of `description.md`."""
    folder: Path
    """The prepared task folder on the host."""
    metric: str
    """Name of the metric, for example `accuracy` or `rmse`: one of `trl_mle.grading.METRICS`, unless the task has a grader of its
    own."""
    direction: Direction
    """Whether a higher or a lower raw score is better."""
    id_column: str | None
    """Column of the sample submission that identifies a row. `None`: rows are matched by their position."""
    prediction_columns: tuple[str, ...]
    """Columns of the sample submission that hold predictions: one per target, or one per class if the metric takes probabilities
    of several."""
    target_column: str = ""
    """First of `target_columns`; empty if there is none. Given alone, it is the only target."""
    time_limit_s: float = 60.0
    """Wall-clock limit of one program, in seconds."""
    memory_bytes: int = 2 * 1024**3
    """Limit of resident memory of one program with all its children, in bytes."""
    threads: int = 1
    """Threads that numerical libraries may use in one program."""
    packages: tuple[str, ...] = ("numpy", "pandas", "scikit-learn", "scipy")
    """Distributions that a program may import, with what they depend on."""
    transform: ScoreTransform = field(default_factory=ScoreTransform)
    """From raw score to reward."""
    target_columns: tuple[str, ...] = ()
    """Columns of the train file to predict. Empty if no table holds them, as in a folder of images whose names are labels."""
    train_file: str | None = "train.csv"
    """Table with the training rows, relative to `public_dir`. `None`: the task has no such table."""
    test_file: str | None = "test.csv"
    """Table with the rows to predict, relative to `public_dir`. `None`: the task has no such table."""
    sample_file: str = "sample_submission.csv"
    """Sample submission, relative to `public_dir`. It has the ids and columns of a valid submission."""
    metric_text: str | None = None
    """Name of the metric in words, for the prompt. `None`: the words for `metric`."""
    license: str | None = None
    """Licence of the data, as its source states it; `None` if nothing is known."""

    def __post_init__(self) -> None:
        targets, target = tuple(self.target_columns), self.target_column
        if target and len(targets) < 2:  # also of `dataclasses.replace(task, target_column=...)`
            targets = (target,)
        elif target and target != targets[0]:
            raise ValueError(
                f"target_column is {target!r}, but the first of target_columns is {targets[0]!r}; give target_columns alone."
            )
        object.__setattr__(self, "target_columns", targets)
        object.__setattr__(self, "target_column", targets[0] if targets else "")

    @property
    def public_dir(self) -> Path:
        """Folder with the files that a program sees, read-only, as `./input/`."""
        return self.folder / "public"

    @property
    def train_path(self) -> Path | None:
        """Path of the train file on the host."""
        return None if self.train_file is None else self.public_dir / self.train_file

    @property
    def test_path(self) -> Path | None:
        """Path of the test file on the host."""
        return None if self.test_file is None else self.public_dir / self.test_file

    @property
    def sample_path(self) -> Path:
        """Path of the sample submission on the host."""
        return self.public_dir / self.sample_file

    @property
    def submission_columns(self) -> tuple[str, ...]:
        """All columns of a submission: the id column, if there is one, and the prediction columns."""
        return self.prediction_columns if self.id_column is None else (self.id_column, *self.prediction_columns)


@dataclass(frozen=True)
class Program:
    """What a policy wrote, taken apart."""

    plan: str
    """The words before the code; may be empty."""
    code: str
    """One complete Python program."""


@dataclass(frozen=True)
class InstrumentedProgram:
    """A program with prints that report milestones, and nothing else changed."""

    code: str
    """The program to run. Equal to `program.code` where nothing could be inserted."""
    program: Program
    """The program before instrumentation."""
    nonce: str
    """Secret of this run; part of every inserted mark."""
    inserted: tuple[Milestone, ...] = ()
    """Milestones for which at least one print was inserted, in the order of `MILESTONES`."""
    fallback_reason: str | None = None
    """Why the program runs as it is, or why a simpler instrumenter did the work; `None` where all went well."""
    fallback_kind: str | None = None
    """The reason as a short identifier that is counted, one of `instrumentation.fallbacks.FALLBACK_KINDS`; `None` where all went
    well."""
    metrics: tuple[str, ...] = ()
    """Named metrics for which at least one print was inserted, in the order of `PROGRAM_METRICS`."""
    instrumenter: Literal["ast", "llm"] = "ast"
    """Which instrumenter was asked; with "llm" and a fallback, the marks are those of the other one."""


LONGEST_S = 366 * 24 * 3600.0
"""Longest wall-clock limit, in seconds."""
LARGEST = 2**50
"""Largest limit of any other kind, such as a number of bytes. No kernel enforces much larger ones."""
NUMBER_BYTES = 32
"""Bytes of a number in full with its separator in a submission, such as `-2.2250738585072014e-308`, with room to spare."""


@dataclass(frozen=True)
class Limits:
    """What one execution may use. Every limit holds for the program with all its children."""

    wall_s: float = 60.0
    """Wall-clock time, in seconds; past it the execution is a time-out."""
    memory_bytes: int = 2 * 1024**3
    """Resident memory, in bytes."""
    processes: int = 64
    """Processes and threads alive at one time."""
    file_bytes: int = 256 * 1024**2
    """Size of one written file, in bytes."""
    work_bytes: int = 1024**3
    """Size of all files in the program's folder together, in bytes."""
    output_bytes: int = 1024**2
    """Bytes of stdout and of stderr each; past it the program is killed."""
    submission_bytes: int = 64 * 1024**2
    """Largest `submission.csv` that is read, in bytes."""
    threads: int = 1
    """Threads that numerical libraries may use."""
    early_exit: float = 0.0
    """A program is stopped once the progress that it prints shows that it needs more than this many times `wall_s`; 0: never. It
    is a time-out, and its seconds are counted as if it had run to its limit."""
    keep_bytes: int = 0
    """Bytes of all files together that `Execution.files` may hold, at most half of `work_bytes`; 0: none is read."""

    @classmethod
    def for_task(cls, task: TaskSpec, wall_s: float | None = None) -> Limits:
        """Limits of `task`, with another wall-clock limit where `wall_s` (seconds) is given."""
        return cls(
            wall_s=task.time_limit_s if wall_s is None else wall_s,
            memory_bytes=task.memory_bytes,
            threads=task.threads,
        )


@dataclass(frozen=True)
class Execution:
    """What happened when a program ran. An infrastructure fault is never an `Execution` but a `SandboxError`."""

    status: ExecutionStatus
    """`ok`: exit code 0. `error`: another exit code or a signal of its own making. `timeout`, `memory`, `output`: killed
    for passing that limit. `killed`: ended by a signal from outside."""
    exit_code: int | None
    """Exit code, negative for a signal, `None` where the sandbox ended the program."""
    wall_s: float
    """Wall-clock seconds of the program alone: no queue, no start-up of the sandbox, no grading."""
    cpu_s: float
    """User and system CPU seconds, children included."""
    max_rss_bytes: int
    """Largest resident memory seen, in bytes."""
    stdout: str
    """Standard output, capped; marks are removed once they are parsed."""
    stderr: str
    """Standard error, capped."""
    stdout_cut_bytes: int = 0
    """Bytes of standard output that were dropped."""
    stderr_cut_bytes: int = 0
    """Bytes of standard error that were dropped."""
    milestones: tuple[Milestone, ...] = ()
    """Milestones whose marks were seen, in the order of `MILESTONES`."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Last finite value of each named metric that the program's prints revealed."""
    submission: bytes | None = None
    """Content of `submission.csv`, or `None`."""
    submission_reason: str | None = None
    """Why there is no submission although a file of that name exists (a link, too large ...)."""
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Name -> content of the regular files that the program left in its folder, for `Sandbox.run(files=...)` of a later program.
    Names are relative, with `/` between folders. Empty without `Limits.keep_bytes`."""
    files_cut: int = 0
    """Files, links and folders that were left out of `files`: too large, too many, no regular file, or an unsuitable name."""


@dataclass(frozen=True)
class Grade:
    """The score of a submission on one split."""

    score: float | None
    """Raw score in the metric's own unit; `None` where the submission is invalid."""
    valid: bool
    """Whether the submission has the right form and a finite score."""
    reason: str | None = None
    """Why it is invalid, in words that name the column, row or value."""
    medal: Literal["gold", "silver", "bronze"] | None = None
    """Medal that the score would have won; `None` without a medal or a leaderboard."""
    above_median: bool | None = None
    """Whether the score is better than the median of the leaderboard; `None` without a leaderboard."""
    percentile: float | None = None
    """Share of the leaderboard whose score is worse, from 0 to 1; `None` without a leaderboard."""


@dataclass(frozen=True)
class Outcome:
    """All that is known about one completion: the record that is kept, shown and learned from."""

    task_id: str
    kind: OutcomeKind
    """`valid`, `failure` (the policy's fault), `timeout` (censored) or `fault` (infrastructure: never a reward)."""
    reward: float | None
    """The scalar for the trainer; `None` for a fault."""
    duration_s: float | None
    """Seconds of execution; `None` for a completion that never ran."""
    reward_parts: Mapping[str, float] = field(default_factory=dict)
    """Named parts that sum to `reward`."""
    program: Program | None = None
    extraction_reason: str | None = None
    """Why no program could be taken from the completion."""
    instrumented: InstrumentedProgram | None = None
    execution: Execution | None = None
    public: Grade | None = None
    """The grade that is rewarded and that may choose the best of n."""
    private: Grade | None = None
    """The grade that is only ever reported."""
    fault: str | None = None
    """The infrastructure error in words."""
