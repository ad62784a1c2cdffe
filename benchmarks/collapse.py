"""A collapse provoked by a high learning rate: how early it is noticed, and what is left with and without protection.

    python benchmarks/collapse.py --seeds 0 1 2

Three kinds of runs of the demo policy, 32 programs per update: `healthy` (the quickstart's learning rate), `provoked` (a rate at
which the policy breaks; the watch only warns) and `protected` (the same with `collapse_action: rollback`). Programs see the first
100 rows of the training table and are run once (`benchmarks/small_table.py`). A run that has ended is not repeated.

Valid shares are means over 5 updates. The valid share counts as fallen at the first update with less than half the share of the
best single update before. A run that was cut off counts if it has `--steps` updates. Written to `docs/results/collapse.json`.
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
SIGNALS = {
    "entropy": lambda line, args: line["collapse/entropy_ratio"] < 0.25,
    "distinct": lambda line, args: line["collapse/distinct_ratio"] < 0.25,
    "reward": lambda line, args: line["collapse/reward_lost"] > 0.8,
    "valid": lambda line, args: line.get("collapse/valid_lost", 0.0) > 0.5,
    "update": lambda line, args: line["collapse/update_kl"] > float(args.update_kl),
}
"""Alarm -> whether it is on in a line of metrics, with the default thresholds."""


def steps_of(arm: str, args: argparse.Namespace) -> int:
    """Updates of a run. A policy that is broken learns nothing more, so provoked runs are short."""
    return args.provoked_steps if arm == "provoked" else args.steps


def flags_of(arm: str, args: argparse.Namespace) -> list[str]:
    """Flags of `trl-mle grpo` beside those that all runs have."""
    rate = args.healthy_rate if arm == "healthy" else args.rate
    flags = ["--learning_rate", rate, "--max_steps", str(steps_of(arm, args))]
    if arm == "healthy":
        return [*flags, "--save_strategy", "no"]
    if arm == "provoked":
        return [*flags, "--save_strategy", "no"]
    saving = ["--save_strategy", "steps", "--save_steps", "1", "--save_total_limit", "6"]
    return [*flags, *saving, "--collapse_action", "rollback", "--rollback_limit", "5"]


def run(arm: str, seed: int, args: argparse.Namespace) -> Path:
    """The folder of a finished run; what it printed is beside it."""
    folder = ROOT / f"runs/collapse-{arm}-{seed}"
    if len(lines_of(folder)) >= steps_of(arm, args):
        return folder
    command = [sys.executable, "benchmarks/small_table.py", "--cache", "runs/outcomes-100.sqlite", "--rows", "100"]
    command += ["--config", "recipes/quickstart/grpo.yaml", "--seed", str(seed), "--output_dir", f"runs/{folder.name}"]
    command += ["--duration_clock", "cpu", "--validate_tasks", "false", "--max_completion_length", "96"]
    # Settings that hold a policy near its start would hide what is to be found.
    command += ["--beta", "0", "--loss_type", "grpo"]
    command += ["--collapse_update_kl", args.update_kl, *flags_of(arm, args)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with folder.with_suffix(".log").open("w") as log:
        subprocess.run(command, cwd=ROOT, check=True, env=environment, stdout=log, stderr=subprocess.STDOUT)
    return folder


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Metrics of the updates of a run, in order; empty for a run that has not begun."""
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [line for line in map(json.loads, text.splitlines()) if "entropy" in line]


def figures(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What one run shows."""
    lines = lines_of(folder)
    valid = [line["programs/valid_share"] for line in lines]
    windows = [mean(valid[max(end - WINDOW, 0) : end]) for end in range(min(WINDOW, len(valid)), len(valid) + 1)]
    fall = next((number for number in range(1, len(valid)) if valid[number] < FALLEN * max(valid[:number])), None)
    alarms: dict[str, int] = {}
    for line in lines:
        for name, is_on in SIGNALS.items():
            if is_on(line, args):
                alarms.setdefault(name, line["step"])
    log = folder.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    return {
        "updates": len(valid),
        "valid_share": [round(share, 3) for share in valid],
        "entropy": [round(line["entropy"], 3) for line in lines],
        "update_kl": [round(line["collapse/update_kl"], 4) for line in lines],
        "first_alarm_after_update": alarms,
        "valid_share_fell_in_update": None if fall is None else fall + 1,
        # The alarm of update n comes before the programs of update n + 1 are written: 1 is in time.
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
    parser.add_argument("--steps", type=int, default=24, help="updates of healthy and protected runs")
    parser.add_argument("--provoked-steps", type=int, default=10)
    parser.add_argument("--healthy-rate", default="3e-4")
    parser.add_argument("--update-kl", default="0.2", help="collapse_update_kl")
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
