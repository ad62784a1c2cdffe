"""The card of a data set of tasks: what is in it, where it comes from, how to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trl_mle._version import __version__
from trl_mle.errors import TaskError
from trl_mle.tasks.task import Task

_CARD = """\
---
license: {license}
viewer: false
tags: [trl_mle, reinforcement-learning, machine-learning-engineering, tabular]
---

# Tasks for machine-learning engineering agents

{count}, written by `trl_mle` {version}. Each folder of `tasks/` is a task: `task.yaml` (metric, limits, score transform),
`description.md`, `public/` (the files that a program sees){private}.

{answers}

| task | title | metric | grader |
|---|---|---|---|
{rows}

```
trl-mle tasks pull {name} --out tasks
trl-mle tasks show tasks/{example}
```

The data is that of the tasks' sources. Its licence is theirs; `LICENSE` in a task folder goes before the licence of this card.
"""


def card(repo_id: str, tasks: Mapping[str, Task], others: Sequence[str], license: str, answers: bool) -> str:
    """Text of the data set's `README.md`.

    Args:
        repo_id (`str`):
            Name of the data set.
        tasks (mapping from task id to [`Task`]):
            The tasks that are pushed.
        others (sequence of `str`):
            Ids of further tasks of the data set.
        license (`str`):
            Licence as an identifier of the Hub.
        answers (`bool`):
            Whether the answers are pushed.
    """
    rows = [
        f"| `{id_}` | {_cell(task.title)} | {_cell(task.metric)} ({task.direction}) | {task.grader} |"
        for id_, task in tasks.items()
    ] + [f"| `{id_}` | | | |" for id_ in others]
    count = len(rows)
    return _CARD.format(
        license=license,
        version=__version__,
        count="1 task" if count == 1 else f"{count} tasks",
        private=", `private/` (the answers)" if answers else "",
        answers="**The answers are part of this data set.** Do not train language models on it."
        if answers
        else "The answers are not part of this data set. Its tasks cannot grade a submission.",
        rows="\n".join(rows),
        name=repo_id,
        example=next(iter(tasks)),
    )


def check_license(license: str) -> None:
    """Raise `TaskError` if `license` is no identifier of the Hub."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,49}", license):
        raise TaskError(
            f"license is {license!r} (`--license`); write an identifier of the Hub, such as cc-by-4.0 or other."
        )


def _cell(text: str) -> str:
    """Text in one cell of a table of Markdown."""
    plain = " ".join(text.split())[:200]
    return re.sub(r"([\\`|<>\[\]*_])", r"\\\1", plain)
