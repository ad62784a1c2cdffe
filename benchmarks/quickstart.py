"""Quickstart for several seeds: first fifth of each run against its last fifth, and the spread over seeds.

    python benchmarks/quickstart.py --seeds 3

The demo policy is trained once (`recipes/sft_mle.py`), then `recipes/grpo_mle.py` runs per seed. The results, with machine and
versions, go to `docs/results/quickstart.json`; the picture of seed 0 stands beside it. README quotes both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev

ROOT = Path(__file__).parent.parent


def launch(script: str, config: str, *flags: str) -> float:
    """Run a recipe and return its wall-clock seconds."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "accelerate_configs/cpu.yaml"]
    command = [*launcher, f"recipes/{script}", "--config", config, *flags]
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/quickstart.json")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags for grpo_mle.py")
    args = parser.parse_args()

    policy_s = launch("sft_mle.py", "recipes/quickstart/sft.yaml")
    runs = []
    for seed in range(args.seeds):
        folder = ROOT / f"runs/benchmark-quickstart-{seed}"
        flags = ["--seed", str(seed), "--output_dir", str(folder.relative_to(ROOT)), *args.flags]
        seconds = launch("grpo_mle.py", "recipes/quickstart/grpo.yaml", *flags)
        summary = json.loads((folder / "summary.json").read_text())
        runs.append({"seed": seed, "seconds": round(seconds, 1), **summary})
        if seed == 0:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "report.png", args.out.with_suffix(".png"))

    gains = [run["last"]["reward"] - run["first"]["reward"] for run in runs]
    score_gains = [score_of_valid(run["last"]) - score_of_valid(run["first"]) for run in runs]
    result = {
        "command": "python benchmarks/quickstart.py --seeds " + str(args.seeds),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in ("trl_mle", "trl", "transformers", "torch", "scikit-learn")},
        "demo_policy_seconds": round(policy_s, 1),
        "reward_gain_mean": round(mean(gains), 3),
        "reward_gain_sd": round(stdev(gains), 3) if len(gains) > 1 else None,
        "valid_score_gain_mean": round(mean(score_gains), 3),
        "valid_score_gain_sd": round(stdev(score_gains), 3) if len(score_gains) > 1 else None,
        "runs": runs,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")

    print(
        f"\n{'seed':>4} {'seconds':>8} {'valid first -> last':>20} {'score of valid':>16} {'reward first -> last':>22}"
    )
    for run in runs:
        first, last = run["first"], run["last"]
        print(
            f"{run['seed']:>4} {run['seconds']:>8.0f} {first['valid_share']:>12.0%} -> {last['valid_share']:.0%} "
            f"{score_of_valid(first):>8.2f} -> {score_of_valid(last):.2f} "
            f"{first['reward']:>14.2f} -> {last['reward']:.2f}"
        )
    spread = "" if len(gains) < 2 else f" (sd {stdev(gains):.2f} over {len(gains)} seeds)"
    print(f"gain of the mean reward: {mean(gains):.2f}{spread}")
    spread = "" if len(gains) < 2 else f" (sd {stdev(score_gains):.2f})"
    print(f"gain of the score of valid programs: {mean(score_gains):.2f}{spread}; written to {args.out}")


def score_of_valid(stretch: dict) -> float:
    """Mean score of the valid programs of a stretch, on the scale of the reward."""
    return stretch["reward_means"]["score_reward"]


if __name__ == "__main__":
    main()
