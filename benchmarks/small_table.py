"""`trl-mle grpo` whose programs see the first rows of the training table only, and are run once.

    python benchmarks/small_table.py --rows 400 --cache runs/outcomes-400.sqlite --config recipes/quickstart/grpo.yaml

For questions about the training itself, such as `benchmarks/collapse.py`: whether a program is valid depends little on the
number of rows, and it takes a tenth of the time. Prompts are those of the whole table, which the demo policy has learned.
Scores are worse than those of the whole table. Outcomes are kept as in `benchmarks/outcome_cache.py`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Hashable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from outcome_cache import train_with

from trl_mle.rewards.cached_scorer import CachedScorer
from trl_mle.tasks import Task
from trl_mle.types import Outcome


def with_rows(task: Task, rows: int, folder: Path) -> Task:
    """`task` with the first `rows` rows of `train.csv`, in a folder of its own."""
    copy = folder / task.id.replace(":", "-")
    if not copy.exists():
        shutil.copytree(task.folder, copy)
        with (task.public_dir / "train.csv").open(encoding="utf-8") as whole:
            lines = list(islice(whole, rows + 1))
        (copy / "public" / "train.csv").write_text("".join(lines), encoding="utf-8")
    return replace(task, folder=copy)


class SmallTableScorer(CachedScorer):
    """A [`CachedScorer`] that runs programs on the first `rows` rows of the training table."""

    def __init__(self, scorer: Any, path: Path, rows: int):
        super().__init__(scorer, path)
        self._rows, self._folder = rows, path.with_suffix(f".{rows}")

    async def score(self, completion: Any, task: Task, group: Hashable = None, **options: Any) -> Outcome:
        """See [`ProgramScorer.score`]."""
        return await super().score(completion, with_rows(task, self._rows, self._folder), group, **options)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    args, flags = parser.parse_known_args()
    return train_with(lambda scorer: SmallTableScorer(scorer, args.cache, args.rows), flags)


if __name__ == "__main__":
    sys.exit(main())
