"""Pull: task folders from a data set of the Hub. Whoever wrote the data set is not trusted."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks.cache import prepare_new
from trl_mle.tasks.folder import GRADERS, load_folder
from trl_mle.tasks.hub.layout import FOLDERS, PRIVATE, ROOT, hub_errors, split_path, travels
from trl_mle.tasks.task_yaml import read_task_yaml

logger = logging.getLogger(__name__)

CODE_GRADERS = ("script",)
"""Graders that run a program of the task folder."""
MAX_FILES = 200_000
"""Largest number of files of a pull."""
MAX_TEXT_BYTES = 4 * 1024**2
"""Largest `task.yaml` or `description.md`, in bytes."""

NO_ANSWERS = "published without answers: its files can be used, but it cannot grade"


@dataclass(frozen=True)
class PulledTask:
    """What came of one task of a data set."""

    id: str
    folder: Path | None
    """The new task folder; `None` if the task was refused."""
    note: str
    """Why it was refused, or that it has no answers; empty where all is well."""


def pull_tasks(
    repo_id: str,
    out: Path,
    tasks: Sequence[str] = (),
    *,
    revision: str | None = None,
    max_bytes: int = 20 * 1024**3,
    trust_code: bool = False,
    token: str | None = None,
) -> list[PulledTask]:
    """Download tasks of the data set `repo_id`, one new folder of `out` each.

    Only files of a task folder are written: no links, no path that leads elsewhere. `task.yaml` and all files are checked as those
    of any task. A task that is refused leaves nothing, and the others are pulled all the same.

    Args:
        repo_id (`str`):
            `user/name`.
        out (`Path`):
            Folder of the new task folders.
        tasks (sequence of `str`, *optional*):
            Ids of the tasks to pull. All by default.
        revision (`str`, *optional*):
            Branch, tag or commit.
        max_bytes (`int`, *optional*, defaults to 20 GiB):
            Largest size of all files together, in bytes.
        trust_code (`bool`, *optional*, defaults to `False`):
            Whether tasks are accepted whose grader is a program of the data set.
        token (`str`, *optional*):
            Access token. Defaults to the one that `hf auth login` stored.

    Raises:
        TaskError: the data set has no such task or is too large, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with hub_errors(f"the data set {repo_id!r} could not be read"):
        info = api.dataset_info(repo_id, revision=revision, files_metadata=True)
    sizes: dict[str, dict[str, int]] = {}
    for sibling in info.siblings or []:
        if place := split_path(sibling.rfilename):
            sizes.setdefault(place[0], {})[place[1]] = sibling.size or 0
    sizes = {id_: files for id_, files in sizes.items() if any(map(travels, files))}
    if not sizes:
        raise TaskError(
            f"the data set {repo_id!r} has no folder {ROOT}/<id> with a task; `tasks push` writes such ones."
        )
    if missing := [id_ for id_ in tasks if id_ not in sizes]:
        raise TaskError(f"the data set {repo_id!r} has no task {missing[0]!r}; it has {_some(sorted(sizes))}.")
    # With files that are no files of a task: they are downloaded, too.
    wanted = {id_: sizes[id_] for id_ in (tasks or sorted(sizes))}
    _check_size(wanted, repo_id, max_bytes)
    with hub_errors(f"the tasks of {repo_id!r} could not be pulled"):
        # Into the Hub's own cache, where an interrupted download goes on.
        snapshot = api.snapshot_download(
            repo_id, repo_type="dataset", revision=info.sha, allow_patterns=[f"{ROOT}/{id_}/*" for id_ in wanted]
        )
    pulled = []
    for id_, files in wanted.items():
        source, names = Path(snapshot, ROOT, id_), sorted(filter(travels, files))
        try:
            note = "" if any(name.startswith(f"{PRIVATE}/") for name in names) else NO_ANSWERS
            folder = prepare_new(out / id_, partial(_fill, source=source, names=names, trust_code=trust_code))
            pulled.append(PulledTask(id_, folder, note))
        except TaskError as error:
            pulled.append(PulledTask(id_, None, str(error)))
        except (
            Exception
        ) as error:  # of a library that reads what a stranger wrote; the other tasks are pulled all the same
            logger.debug("task %s of %s", id_, repo_id, exc_info=True)
            pulled.append(
                PulledTask(id_, None, f"its files cannot be read: {type(error).__name__}: {str(error)[:200]}")
            )
    return pulled


def _check_size(wanted: dict[str, dict[str, int]], repo_id: str, max_bytes: int) -> None:
    number, total = sum(map(len, wanted.values())), sum(sum(files.values()) for files in wanted.values())
    if number > MAX_FILES or total > max_bytes:
        raise TaskError(
            f"the tasks of {repo_id!r} have {number} files of {total / 1024**3:.3g} GiB, more than {MAX_FILES} files or "
            f"{max_bytes / 1024**3:.3g} GiB; choose some of them (`--task`), or allow more (`--max-gib`)."
        )
    for id_, files in wanted.items():
        for name in ("task.yaml", "description.md"):
            if files.get(name, 0) > MAX_TEXT_BYTES:
                raise TaskError(f"{name} of task {id_!r} of {repo_id!r} has {files[name]} bytes; no honest one has.")


def _fill(folder: Path, source: Path, names: Sequence[str], trust_code: bool) -> None:
    """Copy the files of one task into `folder`, and check them."""
    for name in FOLDERS:
        (folder / name).mkdir(mode=0o700 if name == PRIVATE else 0o755)
    for name in names:
        target = folder / name
        is_private = name.startswith(f"{PRIVATE}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Created with its final mode, so that there is no moment at which others can open answers.
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if is_private else 0o644)
        with os.fdopen(descriptor, "wb") as file, (source / name).open("rb") as content:
            shutil.copyfileobj(content, file, 1024**2)
        if name.startswith("public/"):
            target.chmod(0o444)
    has_answers = any(name.startswith(f"{PRIVATE}/") for name in names)
    fields = read_task_yaml(folder / "task.yaml", GRADERS, private=has_answers)
    grader = fields["grader"]
    if fields["id"] != source.name:
        raise TaskError(f"its task.yaml has the id {fields['id']!r}; the two must be equal.")
    if grader in CODE_GRADERS and not trust_code:
        raise TaskError(
            f"its grader is a program of the data set (grader: {grader}), which would run on this machine; read it, then pull "
            "with `--trust-code`."
        )
    if has_answers:
        load_folder(folder)
    else:
        (folder / PRIVATE).rmdir()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
