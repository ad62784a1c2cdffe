"""A Hub in a folder, in place of `huggingface_hub.HfApi`: one data set, with the methods that `tasks push` and `pull` call."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.utils import filter_repo_objects


class FolderHub:
    """The data set's files lie in `root`. `install` puts it in the place of the real client."""

    def __init__(self, root: Path, private: bool | None = None):
        self.root, self.private, self.commits = root, private, 0

    def install(self, monkeypatch) -> FolderHub:
        monkeypatch.setattr(huggingface_hub, "HfApi", lambda token=None: self)
        return self

    def create_repo(self, repo_id, repo_type, private, exist_ok):
        assert (repo_type, exist_ok) == ("dataset", True)
        self.root.mkdir(exist_ok=True)
        self.private = private if self.private is None else self.private
        return f"https://hub/datasets/{repo_id}"

    def dataset_info(self, repo_id, revision=None, files_metadata=False):
        files = [path for path in sorted(self.root.rglob("*")) if path.is_file()]
        siblings = [
            SimpleNamespace(rfilename=path.relative_to(self.root).as_posix(), size=path.stat().st_size)
            for path in files
        ]
        return SimpleNamespace(private=self.private, siblings=siblings, sha="abc")

    def create_commit(self, repo_id, operations, repo_type, commit_message):
        self.commits += 1
        for operation in operations:
            path = self.root / operation.path_in_repo
            if isinstance(operation, CommitOperationDelete):
                path.unlink()
                continue
            assert isinstance(operation, CommitOperationAdd)
            path.parent.mkdir(parents=True, exist_ok=True)
            with operation.as_file() as content:
                path.write_bytes(content.read())

    def snapshot_download(self, repo_id, repo_type, revision, allow_patterns):
        assert revision == "abc"
        snapshot = self.root.with_name("snapshot")
        names = [path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if not path.is_dir()]
        for name in filter_repo_objects(names, allow_patterns=allow_patterns):
            (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / name, snapshot / name)
        return str(snapshot)
