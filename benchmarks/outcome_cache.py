"""`trl-mle grpo` whose programs are run once: a program that was scored before, in this run or an earlier one, is not run again.

    python benchmarks/outcome_cache.py --cache runs/outcomes.sqlite --wall-limit-s 30 --config recipes/quickstart/grpo.yaml

A small policy writes the same programs again and again, and the demo policy's programs are deterministic. So a comparison of
many arms and seeds needs the running time of its distinct programs only. A repeated program gets the reward and the seconds of
its first run, which takes the noise of the machine out of comparisons within one cache. It is no speed-up of the package: times of
updates mean nothing here.

The cache is an SQLite file that several processes may use. The wall-clock limit may lie above the one that prompts state, so that
a loaded machine does not turn slow programs into time-outs; durations should then be CPU seconds (`--duration_clock cpu`). Faults
are not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import pickle
import sqlite3
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trl_mle.errors import ExtractionError
from trl_mle.outcomes import stored
from trl_mle.programs import extract_program
from trl_mle.rewards import ProgramScorer
from trl_mle.scripts import build, grpo
from trl_mle.tasks import Task
from trl_mle.types import Outcome


class CachedScorer(ProgramScorer):
    """A [`ProgramScorer`] that looks for the outcome of a program in a file before it runs it.

    Args:
        scorer ([`ProgramScorer`]):
            Runs the programs that are new.
        path (`Path`):
            The file. It is made if it does not exist.
    """

    def __init__(self, scorer: ProgramScorer, path: Path):
        super().__init__(
            scorer.sandbox, scorer.instrumenter, scorer.config, wall_s=scorer.wall_s, memory_bytes=scorer.memory_bytes
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # One transaction a statement: several runs share the file.
        self._file = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("CREATE TABLE IF NOT EXISTS outcomes (key TEXT PRIMARY KEY, outcome BLOB NOT NULL)")
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self.hits = self.runs = 0

    async def score(self, completion: Any, task: Task, group: Hashable = None) -> Outcome:
        """See [`ProgramScorer.score`]."""
        try:
            program = extract_program(completion)
        except ExtractionError:
            return await super().score(completion, task, group)
        key = hashlib.sha256(repr((task.id, self.wall_s, program.code)).encode()).hexdigest()
        row = self._file.execute("SELECT outcome FROM outcomes WHERE key = ?", (key,)).fetchone()
        if row is not None:
            self.hits += 1
            return replace(pickle.loads(row[0]), program=program)
        if key not in self._running:
            self.runs += 1
            self._running[key] = asyncio.create_task(super().score(program, task, group))
        outcome = await asyncio.shield(self._running[key])
        self._running.pop(key, None)
        if outcome.kind != "fault":
            self._file.execute(
                "INSERT OR IGNORE INTO outcomes VALUES (?, ?)",
                (key, pickle.dumps(replace(stored(outcome), program=None))),
            )
        return replace(outcome, program=program)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], add_help=False)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--wall-limit-s", type=float, default=None, help="wall-clock limit of a program")
    args, flags = parser.parse_known_args()
    scorers: list[CachedScorer] = []

    def cached(scorer: ProgramScorer) -> CachedScorer:
        scorer.wall_s = args.wall_limit_s
        scorers.append(CachedScorer(scorer, args.cache))
        return scorers[-1]

    code = train_with(cached, flags)
    run, found = sum(scorer.runs for scorer in scorers), sum(scorer.hits for scorer in scorers)
    print(f"{run} programs run, {found} found in the cache")
    return code


def train_with(wrap: Callable[[ProgramScorer], ProgramScorer], flags: Sequence[str]) -> int:
    """`trl-mle grpo` with another scorer in place of its own, which `wrap` is given; returns the exit code."""
    make_reward = build.make_reward

    def make(*arguments: Any, **options: Any) -> Any:
        reward = make_reward(*arguments, **options)
        reward.scorer = wrap(reward.scorer)
        return reward

    build.make_reward = make
    return grpo.main(flags)


if __name__ == "__main__":
    sys.exit(main())
