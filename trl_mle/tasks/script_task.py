"""`ScriptTask`: a task that a program of others grades, in a sandbox of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from trl_mle.errors import GradingError, InfrastructureError, TaskError
from trl_mle.grading.csv_rows import read_header, read_rows
from trl_mle.grading.form import FormError, read_bytes
from trl_mle.grading.script import (
    ABOUT_MACHINE,
    Evaluator,
    SampleForm,
    Score,
    StoppedError,
    evaluate,
    read_score,
    write_rows,
)
from trl_mle.tasks.task import Task
from trl_mle.tasks.task_yaml import is_inside
from trl_mle.tasks.transform_yaml import is_number
from trl_mle.types import Grade, Split

PARTS = "parts.csv"
"""File of `private/` with the columns `id` and `split`. Without it, the answers are one part."""
STOPPED_SHARE = 0.25
"""Share of its time limit in which an evaluator must score the sample, so that a submission is to blame for its end."""
MOST_SHOWN_BYTES = 64 * 1024**2
"""Public files at the top of `public/` up to this size in all are there for the evaluator, too."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScriptTask(Task):
    """A task whose grader is a Python program, `private/<evaluator>`.

    The program is run as `python evaluator.py --submission_path FILE` and prints one JSON object with `score`. It finds the
    private files beside itself, and the public ones that are not in folders. It gets the rows of a submission in the order of the
    sample submission.

    Keys of `grader` in `task.yaml`:

    - `evaluator`: path of the program in `private/`.
    - `answers`: table of `private/` that is cut to the rows of a part.
    - `thresholds`: score needed for `gold`, `silver`, `bronze` and `median`.
    - `packages`, `time_limit_s`, `memory_bytes`: what the program may import and use.
    """

    grader: ClassVar[str] = "script"
    grader_keys: ClassVar[tuple[str, ...]] = (
        "evaluator",
        "answers",
        "thresholds",
        "packages",
        "time_limit_s",
        "memory_bytes",
    )

    def check(self) -> None:
        options = self.grader_options
        for key in ("evaluator", "answers"):
            name = options.get(key)
            if name is None and key == "answers":
                continue
            if (
                not isinstance(name, str)
                or not is_inside(name)
                or not (self.private_dir / name).resolve().is_relative_to(self.private_dir.resolve())
            ):
                raise TaskError(
                    f"{self.folder / 'task.yaml'}: grader.{key} is {name!r}; write a path inside private/."
                )
            if not (self.private_dir / name).is_file():
                raise TaskError(f"{self.private_dir / name} does not exist; a task needs it.")
        for key, default in (("time_limit_s", 30.0), ("memory_bytes", 2 * 1024**3)):
            value = options.get(key, default)
            if not is_number(value) or value <= 0:
                raise TaskError(f"{self.folder / 'task.yaml'}: grader.{key} is {value!r}; write a positive number.")
        thresholds = options.get("thresholds", {})
        if not isinstance(thresholds, Mapping) or not all(is_number(value) for value in thresholds.values()):
            raise TaskError(
                f"{self.folder / 'task.yaml'}: grader.thresholds is {thresholds!r}; write numbers by names."
            )
        packages = options.get("packages", [])
        if not isinstance(packages, (list, tuple)) or not all(isinstance(name, str) for name in packages):
            raise TaskError(f"{self.folder / 'task.yaml'}: grader.packages is {packages!r}; write a list of names.")
        try:
            SampleForm.of(self.sample_path, self.id_column).check_sample(self.sample_path)
        except FormError as error:
            raise TaskError(
                f"{self.sample_path} is refused by the checks of submissions ({error}); mend it, or correct id_column."
            ) from error
        if self.has_parts and (self.id_column is None or options.get("answers") is None):
            raise TaskError(
                f"{self.private_dir / PARTS} cuts the answers by their ids; name id_column and grader.answers in "
                f"{self.folder / 'task.yaml'}, or remove the file."
            )
        if self.has_parts:
            _check_parts(self)

    @property
    def has_parts(self) -> bool:
        """Whether the answers have a public and a private part."""
        return (self.private_dir / PARTS).is_file()

    def grade(self, submission: Path | str | bytes, split: Split = "public") -> Grade:
        if split not in ("public", "private", "all"):
            raise TaskError(f"unknown split {split!r}; choose 'public', 'private' or 'all'.")
        if not self.has_parts:
            split = "all"
        try:
            form = SampleForm.of(self.sample_path, self.id_column)
            is_content = isinstance(submission, (bytes, bytearray))
            data = bytes(submission) if is_content else read_bytes(Path(submission), form.max_bytes)  # type: ignore[arg-type]
            score = self._evaluate(form, form.check(data), split)
        except FormError as error:
            return Grade(None, False, str(error))
        except InfrastructureError:
            raise
        except Exception as error:
            raise GradingError(
                f"grading a submission of task {self.id!r} failed: {type(error).__name__}: {error}"
            ) from error
        return self._grade(score.score)

    def evaluate_sample(self, split: Split, share: float = 1.0) -> Score:
        """What the evaluator says of the sample submission within a share of its time limit: the proof that it works.

        Raises:
            GradingError: it does not.
        """
        form = SampleForm.of(self.sample_path, self.id_column)
        evaluator = self._evaluator(split)
        evaluator = replace(evaluator, time_limit_s=share * evaluator.time_limit_s)
        try:
            rows = form.check_sample(self.sample_path)
            evaluation = evaluate(evaluator, self._submission(form, rows, split))
            return read_score(evaluation, may_quote=form.free_text() is not None)
        except FormError as error:
            raise GradingError(
                f"the evaluator of task {self.id!r} gives the sample submission no score: {error}"
            ) from error

    def _evaluate(self, form: SampleForm, rows: list[list[str]], split: Split) -> Score:
        try:
            evaluation = evaluate(self._evaluator(split), self._submission(form, rows, split))
        except StoppedError as error:
            # Texts and huge numbers can cost an evaluator any time and memory. As a fault, the program would escape its penalty.
            # The machine may be to blame, too: so the sample must be scored here and now, and fast.
            costly = form.costly(rows)
            if costly is None:
                raise
            self.evaluate_sample(split, STOPPED_SHARE)
            # Without the traceback, which shows the evaluator's code.
            raise FormError(f"{str(error).partition(': ')[0]} for {costly}") from error
        try:
            return read_score(evaluation, may_quote=form.free_text() is not None)
        except FormError:
            # Whose fault? The policy's only if the evaluator scores the sample here and now.
            _prove(self, split)
            raise
        except GradingError as error:
            if not evaluation.error or ABOUT_MACHINE & set(evaluation.error):
                raise
            unlike = form.unlike_sample(rows)
            # The evaluator works on the sample, so it is the text of this submission on which it fails. As a fault, the
            # program would escape its penalty.
            if unlike is None:
                column = form.free_text()
                unlike = column and f"the evaluator cannot read the texts of column {column!r}"
            if unlike is None:
                raise
            _prove(self, split)
            raise FormError(f"{unlike}; the evaluator failed with {evaluation.error[0]}") from error

    def _submission(self, form: SampleForm, rows: list[list[str]], split: Split) -> bytes:
        if split != "all":
            at, part = form.header.index(str(self.id_column)), _ids_of(self, split)
            rows = [row for row in rows if row[at] in part]
        return write_rows(form.header, rows)

    def _evaluator(self, split: Split) -> Evaluator:
        options = self.grader_options
        files: dict[str, Path | bytes] = dict(_shown(self.public_dir))
        files |= {
            path.relative_to(self.private_dir).as_posix(): path
            for path in sorted(self.private_dir.rglob("*"))
            if _is_own_file(path) and path != self.private_dir / PARTS
        }
        if split != "all" and options.get("answers"):
            files[options["answers"]] = _answers_of(self, split)
        return Evaluator(
            files=files,
            script=options["evaluator"],
            packages=tuple(options.get("packages", self.packages)),
            time_limit_s=float(options.get("time_limit_s", 30.0)),
            memory_bytes=int(options.get("memory_bytes", 2 * 1024**3)),
        )

    def _grade(self, score: float) -> Grade:
        sign = 1.0 if self.direction == "maximize" else -1.0
        thresholds: Mapping[str, Any] = self.grader_options.get("thresholds", {})
        medals: tuple[Literal["gold", "silver", "bronze"], ...] = ("gold", "silver", "bronze")
        medal = next((name for name in medals if name in thresholds and sign * score >= sign * thresholds[name]), None)
        above = sign * score > sign * thresholds["median"] if "median" in thresholds else None
        return Grade(score, True, medal=medal, above_median=above)


@lru_cache(maxsize=1024)
def _prove(task: ScriptTask, split: Split) -> None:
    """Run the evaluator on the sample submission, once for each part in this process. An error is not remembered."""
    task.evaluate_sample(split)


def _ids_of(task: ScriptTask, split: Split) -> frozenset[str]:
    path = task.private_dir / PARTS
    return _read_parts(path, path.stat().st_mtime_ns)[split]


@lru_cache(maxsize=256)
def _read_parts(path: Path, mtime_ns: int) -> dict[str, frozenset[str]]:
    header, *rows = read_rows(path)
    if sorted(header) != ["id", "split"]:
        raise TaskError(f"{path} has the columns {header}; it needs id and split.")
    at, of = header.index("id"), header.index("split")
    return {part: frozenset(row[at].strip() for row in rows if row[of] == part) for part in ("public", "private")}


def _check_parts(task: ScriptTask) -> None:
    """Check that each row to predict is in one part, and that the answers can be cut by their ids."""
    path, answers = task.private_dir / PARTS, task.private_dir / task.grader_options["answers"]
    public, private = (_ids_of(task, part) for part in ("public", "private"))
    ids = frozenset(SampleForm.of(task.sample_path, task.id_column).ids)
    if not public or not private or public & private or public | private != ids:
        raise TaskError(
            f"{path} must name each id of {task.sample_path} once, and have both parts, public and private."
        )
    if task.id_column not in read_header(answers):
        raise TaskError(f"{answers} has no column {task.id_column!r}, by which {path} cuts it.")


def _answers_of(task: ScriptTask, split: Split) -> bytes:
    """The table of answers, with the rows of `split` alone, in the order of the table."""
    path = task.private_dir / task.grader_options["answers"]
    at, part = read_header(path).index(str(task.id_column)), _ids_of(task, split)
    header, *rows = read_rows(path)
    return write_rows(header, [row for row in rows if row[at].strip() in part])


def _shown(folder: Path) -> dict[str, Path]:
    """The regular files at the top of `folder`, small ones first, as long as they are not too large together."""
    paths = sorted(filter(_is_own_file, folder.iterdir()), key=lambda path: path.stat().st_size)
    shown, size = {}, 0
    for path in paths:
        size += path.stat().st_size
        if size > MOST_SHOWN_BYTES:
            break
        shown[path.name] = path
    return shown


def _is_own_file(path: Path) -> bool:
    """Whether `path` is a regular file. A link could show the evaluator any file of this machine."""
    return path.is_file() and not path.is_symlink()
