"""Results of a run in the header of a model card: the `model-index` of the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trl_mle.evaluation.summary import RunSummary
from trl_mle.tasks import Task

BEST = "private score of the best program of training, chosen by public score"
VALID = "share of valid programs in the last fifth of training"


def result_metadata(model_name: str, summary: RunSummary, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """Fields `model_name` and `eval_results` of `huggingface_hub.ModelCardData`; nothing if the run has no result.

    Args:
        model_name (`str`):
            Name of the model in the index.
        summary ([`RunSummary`]):
            What the run reached.
        tasks (mapping from task id to [`Task`]):
            Tasks of the run.
    """
    from huggingface_hub import EvalResult

    def result(task_id: str, title: str, metric: str, name: str, value: float) -> EvalResult:
        return EvalResult(
            task_type="text-generation",
            task_name="machine-learning engineering",
            dataset_type=task_id,
            dataset_name=title,
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 6),
        )

    results = [
        result(task_id, tasks[task_id].title, tasks[task_id].metric, BEST, best.private_score)
        for task_id, best in summary.best.items()
        if best.private_score is not None and task_id in tasks
    ]
    if summary.last.valid_share is not None:
        names = ", ".join(tasks)
        results.append(result(names, names, "valid_share", VALID, summary.last.valid_share))
    return {"model_name": model_name, "eval_results": results} if results else {}
