"""Push: task folders to a data set of the Hub, all of them in one commit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from trl_mle.errors import TaskError
from trl_mle.tasks.hub.card import card, check_license
from trl_mle.tasks.hub.layout import PRIVATE, ROOT, hub_errors, place_of_file, travels
from trl_mle.tasks.task import Task


def push_tasks(
    tasks: Sequence[Task],
    repo_id: str,
    *,
    private: bool = True,
    answers: bool = True,
    publish_answers: bool = False,
    license: str = "other",
    token: str | None = None,
) -> str:
    """Upload task folders to the data set `repo_id`, and return its address. Other tasks of the data set stay.

    Args:
        tasks (sequence of [`Task`]):
            The tasks. Each gets the folder `tasks/<id of its task.yaml>`.
        repo_id (`str`):
            `user/name`. The data set is created if it does not exist.
        private (`bool`, *optional*, defaults to `True`):
            Whether a new data set is private.
        answers (`bool`, *optional*, defaults to `True`):
            Whether the folder `private/` is uploaded. Without it, a pulled task cannot grade.
        publish_answers (`bool`, *optional*, defaults to `False`):
            Whether answers may be uploaded to a public data set.
        license (`str`, *optional*, defaults to `"other"`):
            Licence of the data in the data set's card, an identifier of the Hub.
        token (`str`, *optional*):
            Access token. Defaults to the one that `hf auth login` stored.

    Raises:
        TaskError: two tasks have one id, a folder holds a link, answers would be public, or the Hub cannot be reached or refuses.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    folders = _by_id(tasks)
    files = {f"{ROOT}/{id_}/{name}": path for id_, folder in folders.items() for name, path in _files(folder, answers)}
    if answers and not private and not publish_answers:
        raise TaskError(_public(repo_id))
    api = HfApi(token=token)
    check_license(license)
    with hub_errors(f"the tasks could not be pushed to {repo_id!r}"):
        address = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        info = api.dataset_info(repo_id)
        if answers and not publish_answers and not info.private:
            raise TaskError(_public(repo_id))
        there = [sibling.rfilename for sibling in info.siblings or []]
        # A file that an earlier push has left and that the task no longer has.
        stale = [
            name for name in there if (place := place_of_file(name)) and place[0] in folders and name not in files
        ]
        others = sorted({place[0] for name in there if (place := place_of_file(name))} - set(folders))
        text = card(repo_id, dict(zip(folders, tasks, strict=True)), others, license, answers)
        api.create_commit(
            repo_id,
            [
                CommitOperationAdd("README.md", text.encode()),
                *(CommitOperationAdd(name, str(path)) for name, path in files.items()),
                *(CommitOperationDelete(name) for name in stale),
            ],
            repo_type="dataset",
            commit_message=f"{len(folders)} tasks of trl_mle",
        )
    return str(address)


def _public(repo_id: str) -> str:
    return (
        f"the data set {repo_id!r} is public, and the tasks' answers would be, too: a policy that has read them is worth nothing. "
        "Leave them out (`--without-answers`), use a private data set, or write `--publish-answers`."
    )


def _by_id(tasks: Sequence[Task]) -> dict[str, Path]:
    """Folder of each task by the id of its `task.yaml`, which has no prefix of a source."""
    if not tasks:
        raise TaskError("no task was given to push; name at least one.")
    folders: dict[str, Path] = {}
    for task in tasks:
        id_ = task.id.rpartition(":")[2]
        if id_ in folders:
            raise TaskError(f"{folders[id_]} and {task.folder} both have the id {id_!r}; change it in one task.yaml.")
        folders[id_] = task.folder
    return folders


def _files(folder: Path, answers: bool) -> list[tuple[str, Path]]:
    """Files of a task folder that are uploaded: path inside the folder, path on this machine."""
    found = []
    for root, directories, names in os.walk(folder):
        at_top = Path(root) == folder
        if at_top:
            directories[:] = [name for name in directories if travels(f"{name}/x") and (answers or name != PRIVATE)]
        for name in sorted(directories + names):
            path = Path(root, name)
            inside = path.relative_to(folder).as_posix()
            if name in names and not travels(inside):
                if at_top:
                    continue
                raise TaskError(f"{path} has a name that not every machine can hold; rename it.")
            if path.is_symlink() or (name in names and not path.is_file()):
                raise TaskError(f"{path} is no regular file; a task on the Hub holds files alone, no links.")
            if name in names:
                found.append((inside, path))
    return sorted(found)
