"""A search in a process of its own, for tests that kill it: `python -m tests.support.solve_process TASK OUT ATTEMPTS`."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

from tests.support.solving import NumberSandbox, ScriptedPolicy, text_of
from trl_mle import ProgramScorer, load_task
from trl_mle.instrumentation.no_instrumenter import NoInstrumenter
from trl_mle.solve import Problem, SearchSettings, solve


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(task: str, out: str, attempts: int) -> None:
    # Each attempt is a little better than the one before, so that files are replaced all the time.
    falling = (text_of(f"offset = {10 / number:.6f}") for number in itertools.count(4))
    policy = ScriptedPolicy(*itertools.islice(falling, 4000), pause_s=0.005)
    problem = Problem(task, load_task(task))
    scorer = ProgramScorer(NumberSandbox(), NoInstrumenter())

    def show(moment, new_best):
        if new_best is not None:
            say(new_best.id)

    found = asyncio.run(
        solve(problem, policy, Path(out), 60.0, scorer, SearchSettings(attempts=attempts), on_progress=show)
    )
    say("best", found.best.id, found.attempts)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
