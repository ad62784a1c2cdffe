"""`trl-mle grpo` with a clock, an enforced wall-clock limit of programs, and a cache of programs if one is given.

Started by `benchmarks/ablation.py`. Other flags are those of `trl-mle grpo`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from outcome_cache import train_with

from ablations.clock import Clock
from trl_mle import training
from trl_mle.rewards import ProgramScorer
from trl_mle.rewards.cached_scorer import CachedScorer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], add_help=False, allow_abbrev=False)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--wall-limit-s", type=float, required=True)
    args, flags = parser.parse_known_args()
    base: Any = training.DurationAwareTrainer

    class DurationAwareTrainer(base):
        """The trainer with a clock."""

        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            self.add_callback(Clock(Path(self.args.output_dir), args.seconds))

    def limited(scorer: ProgramScorer) -> ProgramScorer:
        scorer.wall_s = args.wall_limit_s
        return scorer if args.cache is None else CachedScorer(scorer, args.cache)

    training.DurationAwareTrainer = DurationAwareTrainer  # type: ignore[misc]
    return train_with(limited, flags)


if __name__ == "__main__":
    sys.exit(main())
