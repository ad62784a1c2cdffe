"""Does a real code model learn on one GPU? Runs `recipes/qwen2.5-coder-1.5b-instruct/grpo.yaml` and states how it went.

    python benchmarks/gpu_run.py --model Qwen/Qwen2.5-Coder-1.5B-Instruct --updates 56 --flags --learning_rate 1e-5

Writes `docs/results/gpu_run.json`: reward, valid share and seconds per phase, update by update, with machine and versions;
and the picture of the run beside it. One run, one seed: it shows that the pipeline works on a GPU, not how much it gains.
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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, median

import torch

ROOT = Path(__file__).parent.parent
RECIPE = "recipes/qwen2.5-coder-1.5b-instruct/grpo.yaml"
KEPT = {
    "reward": "reward",
    "valid_share": "programs/valid_share",
    "milestones": "programs/milestones",
    "timeout_share": "duration/timeout_share",
    "fault_share": "programs/fault_share",
    "duration_mean_s": "duration/mean",
    "entropy": "entropy",
    "completion_tokens": "completions/mean_length",
    "truncated_share": "completions/clipped_ratio",
    "generation_s": "time/generation_s",
    "programs_s": "time/programs_s",
    "step_s": "step_time",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="Qwen/Qwen2.5-Coder-1.5B-Instruct", help="hub id or path")
    parser.add_argument("--model-note", default="", help="a word on the weights, for the results")
    parser.add_argument("--updates", type=int, default=32)
    parser.add_argument("--run", type=Path, default=ROOT / "runs/gpu-run", help="the run's folder")
    parser.add_argument("--limit-s", type=float, help="stop the run after so many seconds; what it reached is written")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/gpu_run.json")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="more flags for grpo_mle.py")
    args = parser.parse_args()
    flags = ["--model_name_or_path", args.model, "--output_dir", str(args.run), "--max_steps", str(args.updates)]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--mixed_precision", "bf16"]
    command += ["recipes/grpo_mle.py", "--config", RECIPE, *flags, *args.flags]
    started = time.perf_counter()
    try:
        subprocess.run(command, cwd=ROOT, check=True, timeout=args.limit_s, env={**os.environ, "OMP_NUM_THREADS": "1"})
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(f"the run ended early: {error}", file=sys.stderr)
    seconds = time.perf_counter() - started
    more = ["--flags", *args.flags] if args.flags else []
    result = {
        "command": " ".join(["python benchmarks/gpu_run.py --updates", str(args.updates), *more]),
        "model": args.model_note or args.model,
        "machine": f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'}, {platform.machine()}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: _version(name) for name in ("trl_mle", "trl", "transformers", "torch", "scikit-learn")},
        "python": platform.python_version(),
        "seconds": round(seconds, 1),
        **summary(args.run / "metrics.jsonl"),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if (args.run / "report.png").exists():
        shutil.copy(args.run / "report.png", args.out.with_suffix(".png"))
    print(json.dumps({name: value for name, value in result.items() if name != "updates"}, indent=2))


def summary(metrics: Path) -> dict[str, object]:
    """Update by update; the first and last quarter of the generation batches, and the one with the highest mean reward."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    updates = [
        {
            "step": line["step"],
            **{name: round(line[key], 4) for name, key in KEPT.items() if line.get(key) is not None},
        }
        for line in lines
        if "reward" in line or "step_time" in line
    ]
    batches = [update for update in updates if "generation_s" in update]
    rest = [update["step_s"] for update in updates if "generation_s" not in update and "step_s" in update]
    part = max(1, len(batches) // 4)
    names = ("reward", "valid_share", "milestones", "duration_mean_s", "completion_tokens", "truncated_share")
    best = max(batches, key=lambda batch: batch["reward"])
    return {
        "updates_made": updates[-1]["step"] if updates else 0,
        "generation_batches": len(batches),
        "best_batch": {name: best[name] for name in ("step", *names)},
        "first_quarter": {name: round(mean(batch[name] for batch in batches[:part]), 4) for name in names},
        "last_quarter": {name: round(mean(batch[name] for batch in batches[-part:]), 4) for name in names},
        "seconds_median": {
            "generation, per batch": round(median(batch["generation_s"] for batch in batches), 2),
            "instrumentation, execution and grading, per batch": round(median(b["programs_s"] for b in batches), 2),
            "learning, per update": round(median(rest), 2) if rest else None,
        },
        "updates": updates,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from the source tree"


if __name__ == "__main__":
    main()
