"""What a policy learns with each way of giving credit: the valid share, and the score of valid programs, over time.

    python benchmarks/learning.py --arms sum parts rank --seeds 5 --steps 80

Every arm trains the demo policy on the same task with the same number of programs. The demo policy is trained once. A run that has
ended is not repeated, so an interrupted benchmark goes on where it was. Arms are compared within a seed. Printed, and written to
`docs/results/learning_arms.json`: means over sixths of the run, and how each arm differs from the first one at the end, with the
standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev

from quickstart import ROOT, launch

from trl_mle.outcomes import Column, RunColumn, read_rollouts

ARMS: dict[str, list[str]] = {
    "sum": [],
    "parts": ["--reward_aggregation", "parts"],
    "rank": ["--reward_aggregation", "rank"],
    "sum_none": ["--duration_weighting", "none"],
    "parts_none": ["--reward_aggregation", "parts", "--duration_weighting", "none"],
    "rank_none": ["--reward_aggregation", "rank", "--duration_weighting", "none"],
}
"""Name -> flags of `grpo_mle.py` beside those that all arms have. `sum` is the paper's."""
SLOW_S = 1.0
"""CPU seconds from which a program counts as slow."""
PARTS = 6


def run(arm: str, seed: int, args: argparse.Namespace) -> Path:
    """The folder of a finished run."""
    folder = ROOT / f"runs/learning-{arm}-{args.steps}-{seed}"
    if not (folder / "summary.json").exists():
        flags = ["--seed", str(seed), "--max_steps", str(args.steps), "--output_dir", str(folder.relative_to(ROOT))]
        flags += ["--duration_clock", args.clock, "--program_time_limit_s", str(args.limit_s), *ARMS[arm], *args.flags]
        launch("grpo_mle.py", "recipes/quickstart/grpo.yaml", *flags)
    return folder


def figures(folder: Path) -> dict[str, list[float]]:
    """Means over the sixths of a run."""
    rollouts = read_rollouts(folder)
    rollouts = rollouts[rollouts["mode"] == "train"] if "mode" in rollouts else rollouts
    last = int(rollouts[RunColumn.STEP].max()) + 1
    found: dict[str, list[float]] = {
        "valid share": [],
        "reward of valid programs": [],
        "slow share of valid programs": [],
    }
    for part in range(PARTS):
        steps = rollouts[RunColumn.STEP]
        rows = rollouts[(steps * PARTS >= part * last) & (steps * PARTS < (part + 1) * last)]
        scored = rows[rows[Column.KIND] != "fault"]
        valid = scored[scored[Column.KIND] == "valid"]
        found["valid share"].append(round(len(valid) / max(len(scored), 1), 4))
        found["reward of valid programs"].append(round(float(valid[Column.REWARD].mean()), 4))
        found["slow share of valid programs"].append(round(float((valid[Column.CPU_DURATION] > SLOW_S).mean()), 4))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["sum", "parts", "rank"])
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0")
    parser.add_argument("--steps", type=int, default=80, help="updates of 32 programs")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="cpu", help="what durations are weighed by")
    parser.add_argument("--limit-s", type=float, default=30.0, help="wall-clock limit of a program")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/learning_arms.json")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags for grpo_mle.py")
    args = parser.parse_args()
    if not (ROOT / "runs/demo-policy/config.json").exists():
        launch("sft_mle.py", "recipes/quickstart/sft.yaml")
    # Seeds first: whatever ends early has whole comparisons.
    runs = {seed: {arm: figures(run(arm, seed, args)) for arm in args.arms} for seed in range(args.seeds)}
    result = {
        "command": f"python benchmarks/learning.py --arms {' '.join(args.arms)} --seeds {args.seeds} --steps {args.steps}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in ("trl_mle", "trl", "transformers", "torch", "scikit-learn")},
        "runs": runs,
    }
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for figure in next(iter(runs.values()))[args.arms[0]]:
        print(f"\n{figure}, by sixths of the run")
        for arm in args.arms:
            values = [[runs[seed][arm][figure][part] for seed in runs] for part in range(PARTS)]
            ends = [runs[seed][arm][figure][-1] - runs[seed][args.arms[0]][figure][-1] for seed in runs]
            spread = f" (sd {stdev(ends):.2f})" if len(ends) > 1 else ""
            print(
                f"  {arm:12}" + "".join(f"{mean(part):7.2f}" for part in values) + f"   end: {mean(ends):+.2f}{spread}"
            )


if __name__ == "__main__":
    main()
