"""Evaluations whose completions follow from seeds and whose outcomes follow from completions; and one that kills itself.

`python -m tests.support.evaluations OUT N MODE [STATEMENT]` evaluates into OUT. With STATEMENT, the process kills itself as
`kill -9` would when the store comes to that SQL statement, which may lie within a transaction.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

from tests.support.improvement_runs import outcome_of
from tests.support.sandbox_doubles import SandboxDouble
from tests.support.tasks import toy_task
from trl_mle import Limits, load_task
from trl_mle.config import RewardConfig
from trl_mle.evaluation import evaluate
from trl_mle.language_models.sampling import Sample
from trl_mle.types import Outcome

TEXTS = 40
"""Different completions that a seeded policy writes."""


class SeededPolicy:
    """A policy whose completion follows from prompt and seed."""

    model = "seeded"
    samples_per_request = 3

    def __init__(self, model="seeded", **options):
        self.model = model
        self.asked = []

    async def sample(self, messages, n, *, temperature, top_p, max_tokens, seed):
        self.asked.append((messages, n, seed))
        await asyncio.sleep(0)
        kind = "improve" if "earlier" in messages[-1]["content"].lower() else "scratch"
        return [Sample(f"{self.model} {kind} {(seed + index) % TEXTS}", 7, False, 0.5, 10, 0.25) for index in range(n)]

    def count_tokens(self, messages):
        return None

    async def aclose(self):
        self.closed = True


class ScorerDouble:
    """A scorer without sandbox: the outcome follows from the text alone."""

    sandbox = SandboxDouble()
    config = RewardConfig()

    def __init__(self, *faults):
        self.scored = []
        self.faults = list(faults)
        """Numbers of the calls that end in a fault of the sandbox; `"all"`: all of them."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        return None

    def limits_for(self, task):
        return Limits.for_task(task)

    async def score(self, text, task, group=None):
        text = text if isinstance(text, str) else text.code
        call = len(self.scored)
        self.scored.append(text)
        await asyncio.sleep(0)
        if "all" in self.faults or call in self.faults:
            return Outcome(task.id, "fault", None, None, fault="SandboxError: gone")
        text = text.encode("utf-8", "replace").decode()
        return outcome_of(text, task.id, private=len(text) + hash_of(text))


def hash_of(text):
    return sum(map(ord, text)) % 17


def evaluated(out, n=8, mode="scratch", policy=None, scorer=None, **options):
    """An evaluation on the toy task of the folder `out`'s neighbour."""
    folder = Path(out).parent / "task"
    task = load_task(str(folder / "toy")) if folder.exists() else toy_task(folder)
    policies = {"a": policy or SeededPolicy("a"), "b": SeededPolicy("b")}
    return evaluate(policies, task, n, out=out, mode=mode, scorer=scorer or ScorerDouble(), **options)


def main(out, n, mode, statement=None):
    if statement is not None:
        left = int(statement)
        connect = sqlite3.connect

        def count(sql):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def watched(*args, **kwargs):
            connection = connect(*args, **kwargs)
            connection.set_trace_callback(count)
            return connection

        sqlite3.connect = watched
    evaluated(Path(out), int(n), mode)


if __name__ == "__main__":
    main(*sys.argv[1:])
