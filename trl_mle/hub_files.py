"""Files of a data set of the Hugging Face Hub, named `hub:user/name` or `hub:user/name@revision`, in the Hub's own cache."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from trl_mle.errors import ConfigError, hub_client_errors

PREFIX = "hub:"
MAX_BYTES = 50 * 1024**3
"""Largest size of all files of a pull together."""


def is_hub_name(name: object) -> bool:
    """Whether `name` is that of a data set, and no path."""
    return isinstance(name, str) and name.startswith(PREFIX)


def pull_files(name: str, patterns: Sequence[str]) -> Path:
    """Download the files of a data set that match `patterns`, and return the folder that holds them.

    What is there already is not transferred again. The files are those of a stranger: they are to be read as data.

    Raises:
        ConfigError: the Hub cannot be reached or refuses, the data set has no such file, or its files are too large.
    """
    from huggingface_hub import HfApi

    repo_id, _, revision = name.removeprefix(PREFIX).partition("@")
    api = HfApi()
    try:
        info = api.dataset_info(repo_id, revision=revision or None, files_metadata=True)
        files = {file.rfilename: file.size or 0 for file in info.siblings or []}
        found = {path: size for path, size in files.items() if any(fnmatch(path, pattern) for pattern in patterns)}
        if not found:
            raise ConfigError(f"The data set {repo_id!r} has no file {' or '.join(patterns)}.")
        if (size := sum(found.values())) > MAX_BYTES:
            raise ConfigError(
                f"The files of {repo_id!r} have {size / 1024**3:.3g} GiB, more than {MAX_BYTES // 1024**3}."
            )
        return Path(
            api.snapshot_download(repo_id, repo_type="dataset", revision=info.sha, allow_patterns=sorted(found))
        )
    except hub_client_errors() as error:
        raise ConfigError(
            f"The data set {repo_id!r} cannot be read: {error}. Is it `user/name`, and has `hf auth login` stored a token "
            "that may read it?"
        ) from error
