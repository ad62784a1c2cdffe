"""DARE-bench: 162 real data sets of its evaluation part, read from the user's clone (`dare:<data set>`).

The modelling variant (`v2`): macro F1 for classification, R2 clipped to [0, 1] for regression and time series. Nothing of the
data is part of this package. See docs/tasks/dare_bench.md.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from trl_mle.errors import TaskError, UserError
from trl_mle.tasks.cache import cache_dir, prepare_once
from trl_mle.tasks.dare_bench.clone import DareDataset, dataset_kinds, find_clone, read_dataset, title_of
from trl_mle.tasks.folder import load_folder
from trl_mle.tasks.task import Task

PREFIX = "dare:"
_HERE = Path(__file__).parent
logger = logging.getLogger(__name__)


def dare_titles() -> dict[str, str]:
    """Title of each data set of the clone by its name (`dare:...`); empty without a clone. Prepares no task."""
    try:
        kinds = dataset_kinds(find_clone())
    except UserError as error:
        logger.debug("no tasks of DARE-bench: %s", error)
        return {}
    return {PREFIX + name: title_of(name, kind) for name, kind in kinds.items()}


def load_dare(name: str) -> Task:
    """Load the data set `name`, and prepare its task in the cache if it is not there yet.

    Raises:
        UserError: `DARE_BENCH_DIR` names no clone of DARE-bench.
        TaskError: there is no such data set, or no task can be made of it; the message says why.
    """
    dataset = read_dataset(find_clone(), name)
    target = cache_dir() / f"dare-{name}-{_digest(dataset)}"
    folder = prepare_once(target, lambda folder: _build(dataset, folder))
    try:
        return load_folder(folder, PREFIX)
    except TaskError as error:  # whoever cleans caches may have removed some of the files
        raise TaskError(f"{error} Remove {folder}, and the task is prepared anew.") from error


def _build(dataset: DareDataset, folder: Path) -> None:
    from trl_mle.tasks.dare_bench.prepare import build

    build(dataset, folder)
    try:
        load_folder(folder)
    except TaskError as error:
        # The folder is removed, so that its name would help nobody.
        raise TaskError(f"{PREFIX}{dataset.name} gives no task: {str(error).replace(f'{folder}/', '')}") from error


def _digest(dataset: DareDataset) -> str:
    """Hash of all that the prepared folder is made from: files of the clone, facts of the data set, and this code."""
    digest = hashlib.sha256(repr((dataset.targets, dataset.license, dataset.url, dataset.title)).encode())
    files = [dataset.train, dataset.test, dataset.answers, dataset.metadata, *sorted(_HERE.glob("*.py"))]
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:10]
