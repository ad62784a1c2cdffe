"""Does instrumentation leave programs alone, and do its marks tell the truth? Runs the corpus of `tests/data/corpus/`.

    python benchmarks/instrumentation.py

Every program runs in the local sandbox as it is and instrumented; where the two runs differ, once more as it is, so that
a program that differs from run to run is not held against the instrumenter. Writes
`docs/results/instrumentation_ast.json`: what changed, precision and recall per milestone against the labels made by
hand, for the half of the labelled programs on which the instrumenter may be improved and for the other half.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.corpus import Comparison, Entry, compare, disagreements, load_corpus, scores  # noqa: E402
from trl_mle.instrumentation import ASTInstrumenter, Instrumenter  # noqa: E402
from trl_mle.sandboxes import LocalSandbox  # noqa: E402

INSTRUMENTERS: dict[str, Callable[[], Instrumenter]] = {"ast": ASTInstrumenter}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instrumenter", choices=sorted(INSTRUMENTERS), default="ast")
    parser.add_argument("--only", default="", help="only programs whose id begins with this; writes nothing")
    parser.add_argument("--part", choices=("development", "held-out"), help="only this half; writes nothing")
    parser.add_argument("--labelled", action="store_true", help="only programs with a label; writes nothing")
    parser.add_argument("--workers", type=int, default=1, help="programs that run at a time")
    parser.add_argument("--out", type=Path, help="default: docs/results/instrumentation_NAME.json")
    args = parser.parse_args()

    entries = [
        entry
        for entry in load_corpus()
        if entry.id.startswith(args.only)
        and args.part in (None, entry.part)
        and (entry.reached is not None or not args.labelled)
    ]
    started = time.perf_counter()
    comparisons = asyncio.run(measure(entries, INSTRUMENTERS[args.instrumenter](), args.workers))
    result = {
        "command": f"python benchmarks/instrumentation.py --instrumenter {args.instrumenter}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in ("trl_mle", "numpy", "pandas", "scikit-learn", "torch")},
        "python": platform.python_version(),
        "seconds": round(time.perf_counter() - started),
        **report(comparisons),
    }
    show(result)
    if not (args.only or args.part or args.labelled):
        out = args.out or ROOT / f"docs/results/instrumentation_{args.instrumenter}.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"written to {out}")


async def measure(entries: list[Entry], instrumenter: Instrumenter, workers: int) -> list[Comparison]:
    """Compare all `entries`, `workers` of them at a time."""
    free = asyncio.Semaphore(workers)
    done = 0
    with tempfile.TemporaryDirectory() as folder:
        async with LocalSandbox(workers=workers) as sandbox:

            async def one(entry: Entry) -> Comparison:
                nonlocal done
                async with free:
                    comparison = await compare(entry, instrumenter, sandbox, Path(folder))
                done += 1
                if done % 25 == 0:
                    print(f"{done} of {len(entries)}", file=sys.stderr, flush=True)
                return comparison

            return await asyncio.gather(*map(one, entries))


def report(comparisons: list[Comparison]) -> dict[str, object]:
    """The figures of a run."""
    labelled = [item for item in comparisons if item.entry.reached is not None]
    parts = {"all": labelled}
    for item in labelled:
        for part in (item.entry.part, f"source: {item.entry.source}"):
            parts.setdefault(part, []).append(item)
    reasons: dict[str, list[str]] = {}
    for item in comparisons:
        if item.fallback_reason is not None:
            reasons.setdefault(item.fallback_reason, []).append(item.entry.id)
    return {
        "programs": len(comparisons),
        "programs_by_source": dict(Counter(item.entry.source for item in comparisons)),
        "labelled": len(labelled),
        "labelled_by_source": dict(Counter(item.entry.source for item in labelled)),
        "status": dict(Counter(item.plain.status for item in comparisons)),
        "behaviour": {
            what: {
                "same": sum(item.same[what] for item in comparisons),
                "changed": sum(what in item.changed for item in comparisons),
                "differs_from_run_to_run": sum(not item.same[what] and not item.steady[what] for item in comparisons),
            }
            for what in ("exit", "submission", "stdout")
        },
        "submissions": sum(item.plain.submission is not None for item in comparisons),
        "changed": {item.entry.id: item.changed for item in comparisons if item.changed},
        "most_marks_printed": max(item.marks for item in comparisons),
        "scores": {
            part: {
                name: {
                    "reached": score.reached,
                    "marked": score.marked,
                    "both": score.both,
                    "precision": None if score.precision is None else round(score.precision, 4),
                    "recall": None if score.recall is None else round(score.recall, 4),
                }
                for name, score in scores(items).items()
            }
            for part, items in sorted(parts.items())
        },
        "disagreements": [
            {"id": item.entry.id, "part": item.entry.part, "milestone": name, "kind": kind}
            for item in comparisons
            for name, kind in disagreements(item)
        ],
        "fallback_reasons": reasons,
    }


def show(result: dict) -> None:
    """The figures as text."""
    print(f"{result['programs']} programs {result['programs_by_source']}, {result['labelled']} labelled")
    for what, counts in result["behaviour"].items():
        print(f"  {what:<11} {counts}")
    print(f"  changed: {result['changed'] or 'nothing'}")
    for part, table in result["scores"].items():
        print(f"\n{part:<20} {'reached':>8} {'marked':>8} {'both':>8} {'precision':>10} {'recall':>8}")
        for name, row in table.items():
            rates = ["-" if row[key] is None else f"{row[key]:.3f}" for key in ("precision", "recall")]
            print(f"{name:<20} {row['reached']:>8} {row['marked']:>8} {row['both']:>8} {rates[0]:>10} {rates[1]:>8}")
    print()
    for row in result["disagreements"]:
        print(f"{row['kind']:<7} {row['milestone']:<20} {row['id']} ({row['part']})")
    for reason, ids in result["fallback_reasons"].items():
        print(f"as it is: {reason}: {len(ids)}")


if __name__ == "__main__":
    main()
