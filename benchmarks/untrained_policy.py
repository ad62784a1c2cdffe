"""A language model before any training, on every built-in task: valid share, and reasons of failure by class.

    python benchmarks/untrained_policy.py --policy my-model@http://127.0.0.1:8000/v1 --n 32

The tasks fall into two halves by the hash of their names: `look`, on which prompts may be improved, and `measure`, on which the
effect is measured afterwards. After a change of the prompts, run it again with another `--name` and `--halves measure`, or with
`--tasks` for some of the tasks. Each evaluation is in `runs/untrained/NAME`; the same command continues one that was stopped.
Results go to `docs/results/untrained.json`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
from collections import Counter
from importlib.metadata import version
from typing import Any

from checkout import ROOT

from trl_mle.evaluation import EvaluationTable, evaluate
from trl_mle.evaluation.candidates import of_source
from trl_mle.language_models.sampling import PolicySource, parse_source
from trl_mle.scripts.evaluation_progress import EvaluationProgress
from trl_mle.tasks.builtin import builtin_titles

RESULTS = ROOT / "docs/results/untrained.json"
HALVES = ("look", "measure")


def half_of(task_id: str) -> str:
    """`look` or `measure`, for ever the same for a task."""
    return HALVES[hashlib.sha256(task_id.encode()).digest()[0] % 2]


def summary(table: EvaluationTable, half: str) -> dict[str, Any]:
    """Valid share over the tasks of a half, and reasons of failure."""
    entries = [entry for entry in table.entries if half_of(entry.task_id) == half and entry.n]
    reasons: Counter[str] = Counter()
    for entry in entries:
        reasons.update(entry.reasons)
    samples = sum(entry.n for entry in entries)
    return {
        "tasks": [entry.task_id for entry in entries],
        "samples": samples,
        "faults": sum(entry.faults for entry in entries),
        "valid_share": sum(entry.valid for entry in entries) / samples if samples else None,
        "valid_share_of_tasks": {entry.task_id: entry.valid_share.value for entry in entries},
        "truncated": sum(entry.truncated for entry in entries),
        "reasons": dict(reasons.most_common()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", required=True, help="As `--policies` of `trl-mle evaluate`.")
    parser.add_argument("--name", default="before", help="Name of the measurement, for example before or after.")
    parser.add_argument("--n", type=int, default=32, help="Samples per task.")
    parser.add_argument("--max-tokens", type=int, default=1024, help="Longest completion in tokens.")
    parser.add_argument("--concurrency", type=int, default=1, help="Requests at the same time.")
    parser.add_argument("--halves", nargs="+", choices=HALVES, default=list(HALVES), help="Tasks to evaluate.")
    parser.add_argument("--tasks", nargs="+", help="Tasks to evaluate, in place of whole halves.")
    args = parser.parse_args()
    tasks = args.tasks or [task for half in args.halves for task in builtin_titles() if half_of(task) == half]
    halves = [half for half in args.halves if half in {half_of(task) for task in tasks}]
    source = parse_source(args.policy)
    if source.kind == "endpoint":
        options = {"concurrency": args.concurrency, "timeout_s": 1800.0, "samples_per_request": 1}
        source = PolicySource(source.name, source.model, source.kind, source.endpoint, options)
    table = evaluate(
        of_source(source),
        tasks,
        args.n,
        out=ROOT / "runs/untrained" / args.name,
        max_tokens=args.max_tokens,
        overlap=False,  # beside a model on the same machine, programs would run into their time limits
        progress=EvaluationProgress(),
    )
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[args.name] = {
        "policy": source.model,
        "n": args.n,
        "max_tokens": args.max_tokens,
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "transformers": version("transformers"),
        },
        "problems": dict(table.problems),
        **{half: summary(table, half) for half in halves},
    }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    for half in halves:
        found = results[args.name][half]
        print(f"{half}: {len(found['tasks'])} tasks, valid share {found['valid_share']}, {found['reasons']}")


if __name__ == "__main__":
    main()
