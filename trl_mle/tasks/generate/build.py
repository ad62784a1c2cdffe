"""From one table to its tasks: clean, propose targets, drop leaks, split, write, verify."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.errors import TaskError
from trl_mle.grading import SPLIT_COLUMN, get_metric
from trl_mle.tasks.assemble import ID_COLUMN, TaskTables, divide
from trl_mle.tasks.cache import prepare_new
from trl_mle.tasks.folder import load_folder, write_folder
from trl_mle.tasks.generate.columns import CleanTable, clean_table
from trl_mle.tasks.generate.disguise import disguise
from trl_mle.tasks.generate.duplicates import Relation, alike
from trl_mle.tasks.generate.leaks import find_leaks
from trl_mle.tasks.generate.partition import Partition, check_classes, split
from trl_mle.tasks.generate.programs import write_programs
from trl_mle.tasks.generate.records import TableRecord, TaskRecord, folder_digest
from trl_mle.tasks.generate.refusal import Refusal
from trl_mle.tasks.generate.settings import GenerateSettings
from trl_mle.tasks.generate.sources.base import UNKNOWN, SourceTable
from trl_mle.tasks.generate.targets import Proposal, labels_of, propose
from trl_mle.tasks.generate.verify import DUMMY, ProgramRun, dummy_submission, run_program, verify
from trl_mle.tasks.task_yaml import task_yaml
from trl_mle.types import ScoreTransform, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

MIN_DISTINCT_ROWS = 60
"""Fewest rows with different features. With fewer, a task is a table to look answers up in."""
FEW_DUPLICATES = 0.2
"""Share of equal rows up to which they are dropped. Beyond it, the values are few, and equal rows are no accident."""
MIN_TEST_ROWS = 1000
LONGEST_KEY = 50
"""Characters of a table's key in the id of a task, which has at most 100."""
PROVENANCE = "provenance.json"
_DIGITS = 6


@dataclass(frozen=True)
class Made:
    """What the building of one task knows when it is done."""

    spec: TaskSpec
    scores: dict[str, dict[str, float]]
    runs: dict[str, ProgramRun]


def make_tasks(
    table: SourceTable, frame: pd.DataFrame, relation: Relation, disguised: bool, settings: GenerateSettings, out: Path
) -> TableRecord:
    """Make and verify the tasks of one table in the folder `out`, and say what became of each target."""
    record = TableRecord(
        table.key,
        table.source,
        table.name,
        table.title,
        relation.family,
        rows=len(frame),
        columns=frame.shape[1],
        disguised=disguised,
    )
    try:
        if relation.copy_of:
            raise Refusal("copy of another table", relation.copy_of)
        seed = _seed(settings.seed, table.key)
        clean = clean_table(frame, seed)
        clean, duplicates = _without_duplicates(clean)
        record = replace(record, dropped=clean.dropped, duplicate_rows=duplicates)
        proposals = propose(clean)
        if not proposals:
            raise Refusal("no target", "no column has the form of one and can be predicted from the others")
    except Refusal as refusal:
        return replace(record, reason=refusal.reason, detail=refusal.detail)
    tasks: list[TaskRecord] = []
    for proposal in proposals[: settings.tries]:
        tasks.append(_make_task(table, clean, proposal, record, settings, out))
        if sum(task.kept for task in tasks) >= settings.per_table:
            break
    return replace(record, tasks=tuple(tasks))


def _seed(seed: int, *names: str) -> int:
    """A seed of its own for each table or target."""
    return (
        int.from_bytes(hashlib.sha256("\0".join((str(seed), *names)).encode("utf-8", "replace")).digest()[:4], "big")
        // 2
    )


def _without_duplicates(table: CleanTable) -> tuple[CleanTable, int]:
    twice = alike(table.frame).duplicated().to_numpy()
    if not 0 < twice.mean() <= FEW_DUPLICATES:
        return table, 0
    return replace(table, frame=table.frame[~twice].reset_index(drop=True)), int(twice.sum())


def _make_task(
    table: SourceTable,
    clean: CleanTable,
    proposal: Proposal,
    record: TableRecord,
    settings: GenerateSettings,
    out: Path,
) -> TaskRecord:
    seed = _seed(settings.seed, table.key, proposal.column)
    result = TaskRecord(
        _task_id(table, proposal, settings), proposal.column, proposal.kind, proposal.metric, kept=False
    )
    target = out / result.id
    if target.exists():  # from a generation that was killed between folder and record
        shutil.rmtree(target)
    made: list[Made] = []
    try:
        data, leaks = _labelled(clean, proposal)
        result = replace(result, leaks=leaks)
        equal = alike(data.frame.drop(columns=proposal.column))
        if equal.nunique() < MIN_DISTINCT_ROWS:
            raise Refusal("too few different rows", f"{equal.nunique()}, at least {MIN_DISTINCT_ROWS}")
        numeric = proposal.kind == "regression"
        partition = split(data, proposal.column, numeric, equal, seed)
        if record.disguised:
            data = disguise(data, proposal.column, numeric, seed)
            partition = replace(partition, column=None)
        elif (
            partition.kind == "group" and partition.column is not None
        ):  # no entity of a test row is in the train rows
            data = replace(data, frame=data.frame.drop(columns=partition.column))
            equal = alike(data.frame.drop(columns=proposal.column))
        tables = _tables(data, proposal, partition, equal, settings, seed)
        shown = f": {partition.column}" if partition.column else ""
        result = replace(
            result,
            split=f"{partition.kind}{shown}",
            train_rows=len(tables.train),
            public_rows=int((tables.answers[SPLIT_COLUMN] == "public").sum()),
            private_rows=int((tables.answers[SPLIT_COLUMN] == "private").sum()),
            features=tables.test.shape[1] - 1,
        )
        description = _description(table, proposal, data, partition, settings)
        provenance = {"source": table.origin, "licence": table.licence, "dropped": dict(clean.dropped) | leaks}

        def build(folder: Path) -> None:
            made.append(_write(folder, result.id, table, tables, proposal, data, description, settings, seed))
            text = json.dumps(provenance, indent=1, ensure_ascii=False) + "\n"
            (folder / PROVENANCE).write_text(text, encoding="utf-8", errors="replace")

        prepare_new(target, build)
    except Refusal as refusal:
        return replace(result, reason=refusal.reason, detail=refusal.detail)
    except TaskError as error:
        if isinstance(error.__cause__, OSError):  # such as a full disk, which says nothing about the table
            raise
        return replace(result, reason="the table contradicts the task format", detail=str(error)[:300])
    return replace(
        result,
        kept=True,
        scores=made[0].scores,
        baseline_s=round(made[0].runs["baseline"].cpu_s, 2),
        reference_s=round(made[0].runs["reference"].cpu_s, 2),
        digest=folder_digest(target),
    )


def _task_id(table: SourceTable, proposal: Proposal, settings: GenerateSettings) -> str:
    size = "" if settings.rows == GenerateSettings.rows else f"-rows{settings.rows}"
    column = re.sub(r"[^A-Za-z0-9._-]+", "-", proposal.column).strip("._-")[:30] or "target"
    # Two columns may have the same name once other characters are replaced.
    mark = "" if column == proposal.column else f"-{_seed(0, proposal.column) % 10_000:04d}"
    name = (
        table.key if len(table.key) <= LONGEST_KEY else f"{table.key[:LONGEST_KEY]}-{_seed(0, table.key) % 10_000:04d}"
    )
    return f"{name}-{column}{mark}{size}"


def _labelled(clean: CleanTable, proposal: Proposal) -> tuple[CleanTable, dict[str, str]]:
    """The rows that have a target, without the columns that give it away."""
    frame = clean.frame.dropna(subset=[proposal.column]).reset_index(drop=True)
    numeric = proposal.kind == "regression"
    frame[proposal.column] = frame[proposal.column] if numeric else labels_of(frame[proposal.column])
    leaks = find_leaks(frame.drop(columns=proposal.column), frame[proposal.column], numeric)
    frame = frame.drop(columns=list(leaks))
    constant = [name for name in frame.columns if name != proposal.column and frame[name].nunique() < 2]
    frame = frame.drop(columns=constant)
    if frame.shape[1] < 2:
        raise Refusal("no feature is left", f"dropped as leaks: {', '.join(leaks)}" if leaks else "")
    return replace(clean, frame=frame), leaks


def _tables(
    data: CleanTable, proposal: Proposal, partition: Partition, equal: pd.Series, settings: GenerateSettings, seed: int
) -> TaskTables:
    """The tables of the task: rows are shuffled and get new ids, and there are not more than the settings say."""
    import numpy as np
    import pandas as pd

    frame, column = data.frame, proposal.column
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(frame))
    train = order[~partition.is_test[order]]
    # Where entities or times decide, a row may have a twin in the other part. With few values, all rows have one.
    twins = pd.MultiIndex.from_arrays([equal, frame[column]])
    in_both = twins[train].isin(twins[partition.is_test])
    if in_both.mean() <= FEW_DUPLICATES:
        train = train[~in_both]
    train = train[: settings.rows]
    test = order[partition.is_test[order]][: max(settings.rows, MIN_TEST_ROWS)]
    rows = np.concatenate([train, test])
    chosen, is_test = frame.iloc[rows].reset_index(drop=True), np.arange(len(rows)) >= len(train)
    is_public = partition.is_public[test]
    if proposal.kind != "regression":
        check_classes(chosen[column], is_test, np.concatenate([np.zeros(len(train), bool), is_public]))
    return divide(chosen, [column], get_metric(proposal.metric).predicts, is_test, lambda _: is_public)


def _description(
    table: SourceTable, proposal: Proposal, data: CleanTable, partition: Partition, settings: GenerateSettings
) -> str:
    """What a program must know, in words of this package. The prompt adds the columns and the metric."""
    sentences = [f"Predict `{proposal.column}` from the other columns."]
    if not table.importable:
        sentences.insert(0, f"The table: {table.title}.")
    if partition.kind == "time" and partition.column:
        sentences.append(f"The test rows are later than the train rows (`{partition.column}`).")
    if partition.kind == "group":
        sentences.append(
            "The test rows belong to other entities than the train rows, such as other persons or places."
        )
    if texts := [name for name, kind in data.kinds.items() if kind == "text" and name in data.frame.columns]:
        sentences.append(f"Free text: {', '.join(f'`{name}`' for name in texts[:5])}.")
    return " ".join(sentences)


def _write(
    folder: Path,
    id_: str,
    table: SourceTable,
    tables: TaskTables,
    proposal: Proposal,
    data: CleanTable,
    description: str,
    settings: GenerateSettings,
    seed: int,
) -> Made:
    """Write the task folder, run its programs, and set the score transform from what they reach."""
    target, metric = proposal.column, get_metric(proposal.metric)
    write_folder(folder, tables, ID_COLUMN, target)
    (folder / "description.md").write_text(description + "\n", encoding="utf-8", errors="replace")
    for name, text in write_programs(proposal, data).items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    spec = TaskSpec(
        id=id_,
        title=f"Predict {target}: {table.title}"[:100],
        description=description,
        folder=folder,
        metric=metric.name,
        direction=metric.direction,
        id_column=ID_COLUMN,
        prediction_columns=tuple(name for name in tables.sample.columns if name != ID_COLUMN),
        target_column=target,
        time_limit_s=settings.time_limit_s,
        license=None if table.licence == UNKNOWN else table.licence,
    )
    (folder / "task.yaml").write_text(task_yaml(spec), encoding="utf-8")
    task = load_folder(folder)
    runs = {}
    submissions = {DUMMY: dummy_submission(tables, target, metric.name)}
    for name in ("baseline", "reference"):
        runs[name] = run_program(folder / f"{name}.py", folder / "public", settings.reference_s)
        submissions[name] = runs[name].submission
    scores = {part: asdict(each) for part, each in verify(task, submissions, seed).items()}
    worst, best = (task.grade(submissions[name], "all").score for name in (DUMMY, "reference"))
    assert worst is not None and best is not None  # `verify` has graded both
    transform = ScoreTransform("linear", float(f"{worst:.{_DIGITS}g}"), float(f"{best:.{_DIGITS}g}"))
    comment = (
        f"Measured on all test rows: a constant prediction has {worst:.4g} (-1), the reference solution {best:.4g} (1).\n"
        f"Made by `trl-mle tasks generate` with the seed {settings.seed}."
    )
    spec = replace(spec, transform=transform)
    (folder / "task.yaml").write_text(task_yaml(spec, comment), encoding="utf-8")
    load_folder(folder)
    return Made(spec, scores, runs)
