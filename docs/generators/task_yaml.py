"""The page of `task.yaml`: the table of `docs/tasks.md`, which a test compares with the keys that are read."""

from __future__ import annotations

import re

from generators.markdown import ROOT

_TABLE = re.compile(r"^\| key of `task\.yaml` .*\n(?:\|.*\n)+", re.MULTILINE)


def key_table() -> str:
    """The table of keys in `docs/tasks.md`."""
    (found,) = _TABLE.findall((ROOT / "docs/tasks.md").read_text(encoding="utf-8"))
    return found


def page() -> str:
    """Markdown of the page."""
    rows = key_table().replace("](tasks/", "](../tasks/").replace("](reward.md", "](../reward.md")
    return (
        "# task.yaml\n\nThe file that describes a [task folder](../tasks.md#the-task-folder). Reading is strict: an unknown key "
        f"is an error that names the nearest known one.\n\n{rows}\n"
    )
