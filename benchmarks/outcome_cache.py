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
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trl_mle.rewards import ProgramScorer
from trl_mle.rewards.cached_scorer import CachedScorer
from trl_mle.scripts import build, grpo


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--wall-limit-s", type=float, default=None, help="wall-clock limit of a program")
    args, flags = parser.parse_known_args()
    scorers: list[CachedScorer] = []

    def cached(scorer: ProgramScorer) -> CachedScorer:
        if args.wall_limit_s is not None:
            scorer.wall_s = args.wall_limit_s
        scorers.append(CachedScorer(scorer, args.cache))
        return scorers[-1]

    code = train_with(cached, flags)
    run, found = sum(scorer.runs for scorer in scorers), sum(scorer.hits for scorer in scorers)
    print(f"{run} programs run, {found} found in the cache")
    return code


def train_with(wrap: Callable[[ProgramScorer], ProgramScorer], flags: Sequence[str]) -> int:
    """`trl-mle grpo` with another scorer in place of its own, which `wrap` is given; returns the exit code."""
    make_reward, make_spec = build.make_reward, build.make_spec

    def reward_with(*arguments: Any, **options: Any) -> Any:
        reward = make_reward(*arguments, **options)
        reward.scorer = wrap(reward.scorer)
        return reward

    def spec_with(*arguments: Any, **options: Any) -> Any:
        spec = make_spec(*arguments, **options)
        spec.mle_reward.scorer = wrap(spec.mle_reward.scorer)
        return spec

    build.make_reward, build.make_spec = reward_with, spec_with
    return grpo.main(flags)


if __name__ == "__main__":
    sys.exit(main())
