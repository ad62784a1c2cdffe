"""Files that a program gets from an earlier one, checked before any backend sends them."""

from __future__ import annotations

from collections.abc import Mapping

from trl_mle.errors import ConfigError
from trl_mle.sandboxes.local.runner.limits import kept_files
from trl_mle.types import Limits


def check_files(files: Mapping[str, bytes] | None, limits: Limits) -> dict[str, bytes]:
    """`files` as the sandbox takes them: a copy, empty for `None`. What an execution with these limits has kept is never refused.

    Raises:
        ConfigError: a name or a size is not one of files that a program could have left.
    """
    checked = dict(files or {})
    most_files, most_bytes = kept_files.most_files(limits.work_bytes), kept_files.most_bytes(limits.work_bytes)
    for name, content in checked.items():
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise ConfigError(
                f"`files` has {name!r}: {type(content).__name__}; it must map names (`str`) to contents (`bytes`)."
            )
        reason = kept_files.bad_name(name)
        if reason is not None:
            raise ConfigError(f"the name {name!r} in `files` {reason}; give it another one.")
        if not checked.keys().isdisjoint(kept_files.folders_of(name)):
            raise ConfigError(
                f"the name {name!r} in `files` lies in a folder that is a file of `files` itself; leave one out."
            )
    size = sum(map(len, checked.values()))
    if len(checked) > most_files or size > most_bytes:
        raise ConfigError(
            f"`files` has {len(checked)} files with {size} bytes; with `limits.work_bytes`={limits.work_bytes} at most "
            f"{most_files} with {most_bytes} bytes fit. Give fewer."
        )
    return checked
