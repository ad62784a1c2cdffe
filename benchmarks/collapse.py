"""A collapse provoked by a high learning rate: how early it is noticed, and what is left with and without protection.

    python benchmarks/collapse.py --seeds 0 1 2

Three kinds of runs of the demo policy, 32 programs per update: `healthy` (the quickstart's learning rate), `provoked` (a rate at
which the policy breaks; the watch only warns) and `protected` (the same with `collapse_action: rollback`). Programs see the first
100 rows of the training table and are run once (`benchmarks/small_table.py`). A run that has ended is not repeated.

Valid shares are means over 5 updates. The valid share counts as fallen at the first update whose programs are valid in less than
half as many cases as in the best 5 updates before. Written to `docs/results/collapse.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parent.parent
WINDOW = 5
FALLEN = 0.5


def flags_of(arm: str, args: argparse.Namespace) -> list[str]:
    """Flags of `trl-mle grpo` beside those that all runs have."""
    if arm == "healthy":
        return ["--learning_rate", args.healthy_rate, "--max_steps", str(args.healthy_steps), "--save_strategy", "no"]
    flags = ["--learning_rate", args.rate, "--max_steps", str(args.steps)]
    if arm == "provoked":
        return [*flags, "--save_strategy", "no"]
    saving = ["--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "6"]
    return [*flags, *saving, "--collapse_action", "rollback", "--rollback_limit", "5"]


def run(arm: str, seed: int, args: argparse.Namespace) -> Path:
    """The folder of a finished run; what it printed is beside it."""
    folder = ROOT / f"runs/collapse-{arm}-{seed}"
    if (folder / "summary.json").exists():
        return folder
    # A run that is cut off lacks the summary, and is made again.
    command = [sys.executable, "benchmarks/small_table.py", "--cache", "runs/outcomes-100.sqlite", "--rows", "100"]
    command += ["--config", "recipes/quickstart/grpo.yaml", "--seed", str(seed), "--output_dir", f"runs/{folder.name}"]
    command += ["--duration_clock", "cpu", "--validate_tasks", "false", "--max_completion_length", "96"]
    command += ["--collapse_update_kl", args.update_kl, *flags_of(arm, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with folder.with_suffix(".log").open("w") as log:
        subprocess.run(command, cwd=ROOT, check=True, env=environment, stdout=log, stderr=subprocess.STDOUT)
    return folder


def figures(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What one run shows."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    lines = [line for line in map(json.loads, text.splitlines()) if "entropy" in line]
    valid = [line["programs/valid_share"] for line in lines]
    windows = [mean(valid[end - WINDOW : end]) for end in range(WINDOW, len(valid) + 1)]
    fall = next(
        (number for number in range(WINDOW, len(valid)) if valid[number] < FALLEN * max(windows[: number - WINDOW + 1])),
        None,
    )
    alarms: dict[str, int] = {}
    signals = {
        "entropy": lambda line: line["collapse/entropy_ratio"] < 0.25,
        "distinct": lambda line: line["collapse/distinct_ratio"] < 0.25,
        "reward": lambda line: line["collapse/reward_lost"] > 0.8,
        "update": lambda line: line["collapse/update_kl"] > float(args.update_kl),
    }
    for line in lines:
        for name, is_on in signals.items():
            if is_on(line):
                alarms.setdefault(name, line["step"])
    log = folder.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    return {
        "updates": len(valid),
        "valid_share": [round(share, 3) for share in valid],
        "entropy": [round(line["entropy"], 3) for line in lines],
        "update_kl": [round(line["collapse/update_kl"], 4) for line in lines],
        "first_alarm_after_update": alarms,
        "valid_share_fell_in_update": None if fall is None else fall + 1,
        # The alarm of update n comes before the programs of update n + 1 are written.
        "updates_before_the_fall": None if fall is None or not alarms else fall + 1 - min(alarms.values()),
        "best_valid_share": round(max(windows), 3),
        "last_valid_share": round(windows[-1], 3),
        "kept": round(windows[-1] / max(windows), 3),
        "rollbacks": log.count("Training goes back to"),
        "stopped": "Training stops" in log,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["healthy", "provoked", "protected"])
    parser.add_argument("--rate", default="2e-3", help="learning rate of provoked and protected runs")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--healthy-rate", default="3e-4")
    parser.add_argument("--healthy-steps", type=int, default=40)
    parser.add_argument("--update-kl", default="0.3", help="collapse_update_kl")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/collapse.json")
    args = parser.parse_args()
    runs = {arm: {seed: figures(run(arm, seed, args), args) for seed in args.seeds} for arm in args.arms}
    result = {
        "command": "python benchmarks/collapse.py " + " ".join(sys.argv[1:]),
        "settings": {name: str(value) for name, value in vars(args).items() if name != "out"},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in ("trl_mle", "trl", "transformers", "torch", "scikit-learn")},
        "runs": runs,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for arm, seeds in runs.items():
        kept = [run["kept"] for run in seeds.values()]
        spread = f" (sd {stdev(kept):.2f})" if len(kept) > 1 else ""
        print(f"{arm}: kept {mean(kept):.2f}{spread} of the best valid share")
        for seed, run_ in seeds.items():
            names = ("first_alarm_after_update", "valid_share_fell_in_update", "updates_before_the_fall")
            names += ("best_valid_share", "last_valid_share", "rollbacks", "stopped")
            print(f"  seed {seed}: " + ", ".join(f"{name} {run_[name]}" for name in names))


if __name__ == "__main__":
    main()
