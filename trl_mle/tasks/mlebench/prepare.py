"""Makes a task folder of the prepared data of a competition, once per state of that data."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import TaskError
from trl_mle.grading import PARTS, SPLIT_COLUMN
from trl_mle.grading.csv_rows import read_header
from trl_mle.tasks.cache import cache_dir, prepare_once
from trl_mle.tasks.folder import load_folder
from trl_mle.tasks.mlebench.competitions import Competition, find_competition, known, sample_path
from trl_mle.tasks.mlebench.data_dir import PreparedData, find_prepared, prepared_competitions
from trl_mle.tasks.mlebench.grading import AnswerTable, can_score, grader_of
from trl_mle.tasks.mlebench.leaderboard import SCORE_COLUMN
from trl_mle.tasks.mlebench.package import NAME, competition_dir
from trl_mle.tasks.mlebench.parts import public_rows
from trl_mle.tasks.mlebench.public_files import copy_public, drop_fields, public_files
from trl_mle.tasks.mlebench.tables import plain, read_answers
from trl_mle.tasks.mlebench.task import LEADERBOARD, PARTS_FILE, MLEBenchTask
from trl_mle.tasks.task import Task
from trl_mle.tasks.task_yaml import task_yaml
from trl_mle.types import ScoreTransform, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "mlebench:"
_HERE = Path(__file__).parent
logger = logging.getLogger(__name__)
_SHAPING = ("prepare.py", "public_files.py", "parts.py", "tables.py", "../splits.py", "../task_yaml.py")
"""Files that decide what a task folder holds."""
IMAGES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"}
"""Suffixes of files for which programs get pillow."""
PILLOW = "pillow"
_PACKED = (".zip", ".7z", ".gz", ".tar", ".tgz", ".rar")


def mlebench_titles() -> dict[str, str]:
    """Title of each competition that can be loaded on this machine, by its full name. Prepares nothing."""
    names = [name for name in prepared_competitions() if name in known() or competition_dir(name) is not None]
    return {PREFIX + name: known().get(name, {}).get("title", name) for name in names}


def load_mlebench(name: str) -> Task:
    """Load the competition `name` from what `mlebench prepare` has made, through a task folder in the cache.

    Raises:
        TaskError: there is no such competition, its data is not prepared, or it cannot be made a task of.
    """
    if not NAME.fullmatch(name):
        raise TaskError(
            f"{PREFIX + name!r} is not the name of a competition, such as 'mlebench:{next(iter(known()))}'."
        )
    competition = find_competition(name)
    data = find_prepared(name)
    try:
        digest = _digest(competition, data)
    except OSError as error:
        raise TaskError(f"{error.filename} cannot be read: {error.strerror}.") from error
    target = cache_dir() / f"mlebench-{name}-{digest}"
    folder = prepare_once(target, lambda folder: build(competition, data, folder))
    try:
        return load_folder(folder, PREFIX)
    except TaskError as error:  # whoever cleans caches may have removed some of the files
        raise TaskError(f"{error} Remove {folder}, and the task is prepared anew.") from error


def _digest(competition: Competition, data: PreparedData) -> str:
    """Hash of all that the task folder is made from. Files of data count by name, size and time of their last change."""
    digest = hashlib.sha256(repr((competition, _has_pillow())).encode())
    for name in _SHAPING:
        digest.update((_HERE / name).read_bytes())
    files = [data.public / name for name in public_files(data)]
    files += sorted(path for path in data.private.rglob("*") if path.is_file())
    for path in files:
        state = path.stat()
        digest.update(f"{path.relative_to(data.public.parent)}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:10]


def build(competition: Competition, data: PreparedData, folder: Path) -> None:
    """Fill the empty `folder` with the task."""
    public, private = folder / "public", folder / "private"
    public.mkdir(mode=0o755)
    private.mkdir(mode=0o700)
    source = data.private / competition.answers
    if not source.is_file():
        raise TaskError(f"{source} does not exist; run `mlebench prepare -c {competition.id}` again.")
    copy_public(data, public)
    _copy_private(source, private / source.name)
    train, test = (_table(public, competition, name) for name in ("train", "test"))
    _drop_fields(competition, public, train, test)
    sample_file = _place_sample(competition, data, public, test)
    answers, sample = read_answers(private / source.name), read_answers(public / sample_file)
    id_column = competition.id_column or _find_id(answers, sample)
    if id_column is not None:
        _divide(competition, private, answers, sample, id_column)
    leaderboard = competition.leaderboard
    if leaderboard.scores:
        lines = "".join(f"{score!r}\n" for score in leaderboard.scores)
        (private / LEADERBOARD).write_text(f"{SCORE_COLUMN}\n{lines}", encoding="utf-8")
    (folder / "description.md").write_text(competition.description.strip() + "\n", encoding="utf-8")
    task = MLEBenchTask(
        id=competition.id,
        title=competition.title,
        description=competition.description,
        folder=folder,
        metric=competition.metric,
        direction=competition.direction,
        id_column=id_column,
        prediction_columns=tuple(str(column) for column in sample.columns if column != id_column),
        target_columns=competition.target_columns or _find_targets(public, train, test, sample, id_column),
        packages=(*TaskSpec.packages, *_image_packages(public)),
        time_limit_s=competition.time_limit_s,
        memory_bytes=competition.memory_bytes,
        train_file=train,
        test_file=test,
        sample_file=sample_file,
        metric_text=competition.metric_text,
        license=f"rules of the Kaggle competition {competition.id}",
        transform=competition.transform or ScoreTransform("percentile", leaderboard=leaderboard.scores),
        grader_options={
            "competition": competition.id,
            "answers": source.name,
            "thresholds": [leaderboard.gold, leaderboard.silver, leaderboard.bronze, leaderboard.median],
        },
    )
    text = task_yaml(task, "Made by trl_mle from data of MLE-bench.", leaderboard_file=LEADERBOARD)
    (folder / "task.yaml").write_text(text, encoding="utf-8")


def _has_pillow() -> bool:
    try:
        return bool(version(PILLOW))
    except PackageNotFoundError:
        return False


def _image_packages(public: Path) -> tuple[str, ...]:
    """What programs need to read images, if there are any and it is installed."""
    images = any(path.suffix.lower() in IMAGES for path in public.rglob("*"))
    return (PILLOW,) if images and _has_pillow() else ()


def _copy_private(source: Path, target: Path) -> None:
    # Created with its final mode, so that there is no moment at which others can open it.
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file, source.open("rb") as content:
        shutil.copyfileobj(content, file, 1024 * 1024)


def _table(public: Path, competition: Competition, name: str) -> str | None:
    """Name of the training or the test table in `public`, if there is one."""
    wanted = getattr(competition, name)
    if wanted is not None and not (public / wanted).is_file():
        raise TaskError(f"{wanted} is missing in prepared/public; run `mlebench prepare -c {competition.id}` again.")
    return wanted or (f"{name}.csv" if (public / f"{name}.csv").is_file() else None)


def _drop_fields(competition: Competition, public: Path, *tables: str | None) -> None:
    if not competition.dropped_fields:
        return
    for table in filter(None, tables):
        drop_fields(public / table, competition.dropped_fields)
    for path in sorted(public.rglob("*")):  # an archive that could not be unpacked may hold the fields
        if path.suffix.lower() in _PACKED:
            path.unlink()


def _place_sample(competition: Competition, data: PreparedData, public: Path, test: str | None) -> str:
    """Put the sample submission into `public` and give its path there."""
    source = sample_path(competition, data)
    name = competition.sample.partition("/")[2] if competition.sample.startswith("public/") else source.name
    target = public / name
    if not target.is_file():
        if not source.is_file():
            raise TaskError(f"{source} does not exist; run `mlebench prepare -c {competition.id}` again.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o444)
    if competition.target_columns and test is not None and test.endswith(".csv"):
        _drop_inputs(target, competition, read_header(public / test))
    return name


def _drop_inputs(path: Path, competition: Competition, test_columns: list[str]) -> None:
    """Drop columns of the sample submission that are inputs, such as a date: they are neither ids nor predictions."""
    sample = read_answers(path)
    inputs = [column for column in sample.columns if column in test_columns and column != competition.id_column]
    if inputs:
        path.unlink()
        sample.drop(columns=inputs).to_csv(path, index=False)
        path.chmod(0o444)


def _ids(table: pd.DataFrame, column: str) -> Counter[Any]:
    return Counter(map(plain, table[column].tolist()))


def _find_id(answers: Any, sample: pd.DataFrame) -> str | None:
    """The column whose ids are the same in answers and sample submission, or `None`."""
    shared = [str(column) for column in sample.columns if column in getattr(answers, "columns", ())]
    same = [column for column in shared if set(_ids(answers, column)) == set(_ids(sample, column))]
    unique = [column for column in same if sample[column].is_unique]
    return next(iter(unique or [column for column in same if sample[column].nunique() > 1]), None)


def _divide(
    competition: Competition, private: Path, answers: pd.DataFrame, sample: pd.DataFrame, id_column: str
) -> None:
    """Divide the answers, if there are enough and the grader can score each part: some metrics need a row of each class."""
    targets = [column for column in sample.columns if column != id_column and column in answers.columns]
    try:
        public = public_rows(answers, id_column, targets)
    except TaskError:  # fewer than two ids
        return
    ids = _ids(answers, id_column)
    table = AnswerTable(answers, sample, id_column, public, 0, ids if ids == _ids(sample, id_column) else None)
    grader = grader_of(competition.id, id_column, tuple(str(name) for name in sample.columns if name != id_column))
    if can_score(grader, table, "all") and not all(can_score(grader, table, part) for part in PARTS):
        logger.warning(
            "%s%s: its grader cannot score each half of the answers, so every split is all rows, and the reported score is the "
            "rewarded one",
            PREFIX,
            competition.id,
        )
        return
    lines = "".join("public\n" if row else "private\n" for row in public)
    (private / PARTS_FILE).write_text(f"{SPLIT_COLUMN}\n{lines}", encoding="utf-8")
    (private / PARTS_FILE).chmod(0o600)


def _find_targets(
    public: Path, train: str | None, test: str | None, sample: pd.DataFrame, id_column: str | None
) -> tuple[str, ...]:
    """The prediction columns that the training table has and the test table lacks."""
    if train is None:
        return ()
    in_train = set(read_header(public / train))
    in_test = set(read_header(public / test)) if test is not None else set()
    columns = [str(column) for column in sample.columns if column != id_column]
    return tuple(column for column in columns if column in in_train - in_test)
