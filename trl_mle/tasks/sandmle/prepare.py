"""From a task of SandMLE to a task folder, with the answers out of the reach of programs."""

from __future__ import annotations

import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path

from trl_mle.errors import GradingError, TaskError
from trl_mle.grading.csv_rows import read_header, read_rows
from trl_mle.grading.script import Score, write_rows
from trl_mle.tasks.sandmle.layout import DESCRIPTION, EVALUATOR, SAMPLE, TEST, TRAIN, Layout, task_id
from trl_mle.tasks.script_task import PARTS, ScriptTask
from trl_mle.tasks.task_yaml import task_yaml
from trl_mle.types import ScoreTransform, Split

SEED = 0
PART_NAMES: tuple[Split, ...] = ("public", "private")
METRIC_TEXT = "the score of the task's own evaluator, as the description says"
logger = logging.getLogger(__name__)


def build(name: str, layout: Layout, folder: Path) -> None:
    """Write the task folder of `layout` into the empty `folder`, and run the evaluator on the sample submission.

    Raises:
        TaskError: the evaluator does not work, or the sample submission gives the answers away.
        SandboxUnavailableError: this machine cannot isolate evaluators.
    """
    public, private = folder / "public", folder / "private"
    public.mkdir(mode=0o755)
    private.mkdir(mode=0o700)
    for names, target, mode in ((layout.public, public, 0o444), (layout.private, private, 0o600)):
        for file in names:
            path = target / file
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(layout.folder / file, path)
            path.chmod(mode)
    description = (layout.folder / DESCRIPTION).read_text(encoding="utf-8-sig", errors="replace").strip()
    header = read_header(layout.folder / SAMPLE)
    train = read_header(layout.folder / TRAIN) if TRAIN in layout.public else []
    predictions = tuple(column for column in header if column != layout.id_column)
    task = ScriptTask(
        id=task_id(name),
        title=_title(description, name),
        description=description,
        folder=folder,
        metric="evaluator",
        metric_text=METRIC_TEXT,
        direction="maximize",
        id_column=layout.id_column,
        prediction_columns=predictions,
        target_columns=tuple(column for column in predictions if column in train),
        train_file=TRAIN if train else None,
        test_file=TEST if TEST in layout.public else None,
        grader_options={"evaluator": EVALUATOR, **({"answers": layout.answers} if layout.answers else {})},
    )
    try:
        score = task.evaluate_sample("all")
    except GradingError as error:
        raise TaskError(f"the evaluator of {layout.folder} cannot be used: {error}") from error
    task = _with_scores(task, score, layout)
    comment = "From SandMLE. The transform gives 1 to the gold threshold of the evaluator."
    if not _add_parts(task, layout):
        comment += "\nThe answers are one part: every split is scored on all rows."
        logger.warning(
            "%s: the answers cannot be cut into a public and a private part, so the reported score is the rewarded one",
            layout.folder,
        )
    (folder / "task.yaml").write_text(task_yaml(task, comment), encoding="utf-8")
    (folder / "description.md").write_text(description + "\n", encoding="utf-8")


def _with_scores(task: ScriptTask, sample: Score, layout: Layout) -> ScriptTask:
    """`task` with what its evaluator says of direction and thresholds."""
    thresholds = sample.thresholds
    lower = sample.lower_is_better
    if lower is None:
        if not {"gold", "bronze"} <= set(thresholds) or thresholds["gold"] == thresholds["bronze"]:
            raise TaskError(f"the evaluator of {layout.folder} does not say whether a lower score is better.")
        lower = thresholds["gold"] < thresholds["bronze"]
    task = replace(
        task,
        direction="minimize" if lower else "maximize",
        grader_options={**task.grader_options, "thresholds": thresholds},
    )
    gold, sign = thresholds.get("gold"), -1.0 if lower else 1.0
    if gold is None:
        return task
    if sign * sample.score >= sign * gold:
        raise TaskError(
            f"the sample submission of {layout.folder} has the score {sample.score:g}, as good as gold ({gold:g}): it gives the "
            f"answers away, or there is nothing to learn."
        )
    # The median is halfway, unless the sample is so much worse that programs like it would all be at the bottom.
    worst = min(_anchors(sample.score, gold, thresholds.get("median")), key=lambda score: sign * score)
    return replace(task, transform=ScoreTransform("linear", float(f"{worst:.12g}"), gold))


def _anchors(sample: float, gold: float, median: float | None) -> list[float]:
    """Scores for the transform's -1: one gives -0.5 to the sample submission, another 0 to the median."""
    return [sample - (gold - sample) / 3, *([] if median is None or median == gold else [2 * median - gold])]


def _add_parts(task: ScriptTask, layout: Layout) -> bool:
    """Cut the ids of the answers in two halves, if the evaluator gives a score on each of them."""
    import numpy as np

    if layout.answers is None or layout.id_column is None:
        return False
    header, *rows = read_rows(task.sample_path)
    ids = [row[header.index(layout.id_column)].strip() for row in rows]
    if len(ids) < 4:
        return False
    public = set(np.random.default_rng(SEED).permutation(len(ids))[: len(ids) // 2].tolist())
    path = task.private_dir / PARTS
    path.touch(mode=0o600)
    path.write_bytes(
        write_rows(("id", "split"), [[id_, "public" if at in public else "private"] for at, id_ in enumerate(ids)])
    )
    try:
        for part in PART_NAMES:
            task.evaluate_sample(part)
        if reason := _bias_of_parts(task):
            raise GradingError(reason)
    except GradingError as error:
        logger.info("%s: the evaluator needs all rows: %s", layout.folder, error)
        path.unlink()
        return False
    return True


def _bias_of_parts(task: ScriptTask) -> str | None:
    """How the evaluator scores a perfect submission otherwise on a part than on all rows, if it does.

    Then it knows the rows from elsewhere, such as `test.csv`, and counts those of the other part as wrong.
    """
    header, *rows = read_rows(task.private_dir / task.grader_options["answers"])
    columns = read_header(task.sample_path)
    if not set(columns) <= set(header):
        return None
    perfect = write_rows(columns, [[row[header.index(name)] for name in columns] for row in rows])
    whole = task.grade(perfect, "all").score
    if whole is None:  # such as probabilities of classes: the answers are no submission
        return None
    for part in PART_NAMES:
        score = task.grade(perfect, part).score
        if score is None or not math.isclose(score, whole, rel_tol=1e-6, abs_tol=1e-9):
            return f"the answers themselves have the score {whole:g} on all rows and {score} on the {part} part"
    return None


def _title(description: str, name: str) -> str:
    lines = [" ".join(line.strip("#* \t").split()) for line in description.splitlines()]
    heading = next((line for line in lines if line), "")
    return (heading or name)[:100]
