"""Does instrumentation leave programs alone, and do its marks tell the truth? Runs the corpus of `tests/data/corpus/`.

    python benchmarks/instrumentation.py
    python benchmarks/instrumentation.py --instrumenter llm --endpoint http://127.0.0.1:8001/v1 --model NAME --run lines

Every program runs in the local sandbox as it is and instrumented; where the two runs differ, once more as it is, so that
a program that differs from run to run is not held against the instrumenter. Writes
`docs/results/instrumentation_ast.json`: what changed, precision and recall per milestone against the labels made by
hand, for the half of the labelled programs on which the instrumenter may be improved and for the other half.

With a language model it first asks about each program (stopped, it goes on where it was), and adds to
`instrumentation_llm.json` a run with the share of accepted answers, reasons for rejections, claims, seconds and metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shlex
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import instrumentation_llm as llm
from checkout import ROOT

from tests.support.corpus import Comparison, Entry, compare, disagreements, load_corpus, scores
from trl_mle.instrumentation import ASTInstrumenter, Instrumenter
from trl_mle.sandboxes import LocalSandbox


def main() -> None:
    args = arguments()
    started = time.perf_counter()
    result = asyncio.run(run(args))
    result = {
        "command": f"python benchmarks/instrumentation.py {words(args)}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "versions": {name: version(name) for name in ("trl_mle", "numpy", "pandas", "scikit-learn", "torch")},
        "python": platform.python_version(),
        "seconds": round(time.perf_counter() - started),
        **result,
    }
    show(result)
    out = args.out or ROOT / f"docs/results/instrumentation_{args.instrumenter}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    if args.run is not None:
        llm.write(result, args.run, out)
    elif args.instrumenter == "ast" and not (args.only or args.part or args.labelled or args.sample):
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    else:
        return
    print(f"written to {out}")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instrumenter", choices=("ast", "llm"), default="ast")
    parser.add_argument("--only", default="", help="only programs whose id begins with this; `ast` writes nothing")
    parser.add_argument("--part", choices=("development", "held-out"), help="only this half; `ast` writes nothing")
    parser.add_argument("--labelled", action="store_true", help="only programs with a label; `ast` writes nothing")
    parser.add_argument("--sample", type=int, help="only so many of them, drawn with seed 0; `ast` writes nothing")
    parser.add_argument("--workers", type=int, default=1, help="programs that run at a time")
    parser.add_argument("--out", type=Path, help="default: docs/results/instrumentation_NAME.json")
    model = parser.add_argument_group("llm")
    model.add_argument("--endpoint", help="URL; without it, only programs whose answers are kept")
    model.add_argument("--model", help="name at the endpoint")
    model.add_argument("--answer-format", choices=("lines", "rewrite"), default="lines")
    model.add_argument("--server", default="", help="what serves the model, in words that are written down")
    model.add_argument("--cache", type=Path, help="folder of the answers; default: the user's cache folder")
    model.add_argument("--run", help="name of this run in the file; without it nothing is written")
    args = parser.parse_args()
    if (args.instrumenter == "llm") != (args.model is not None):
        parser.error("--instrumenter llm and --model go together")
    return args


def words(args: argparse.Namespace) -> str:
    """The command line without what is of this machine."""
    given = {name: value for name, value in vars(args).items() if value and name not in ("out", "cache")}
    return " ".join(
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(str(value))}")
        for name, value in given.items()
    )


def chosen(args: argparse.Namespace) -> list[Entry]:
    """The programs to run, those with a label first."""
    entries = [
        entry
        for entry in load_corpus()
        if entry.id.startswith(args.only)
        and args.part in (None, entry.part)
        and (entry.reached is not None or not args.labelled)
    ]
    if args.sample:
        entries = random.Random(0).sample(entries, len(entries))[: args.sample]
    return sorted(entries, key=lambda entry: entry.reached is None)


async def run(args: argparse.Namespace) -> dict[str, object]:
    """The figures of the instrumenter that `args` ask for."""
    entries = chosen(args)
    if args.instrumenter == "ast":
        return report(await measure(entries, ASTInstrumenter(), args.workers))
    instrumenter, folder = llm.make_instrumenter(args.endpoint, args.model, args.answer_format, args.cache)
    asked = await llm.ask(entries, instrumenter, folder)
    comparisons = await measure([entry for entry in entries if entry.id in asked], instrumenter, args.workers)
    await instrumenter.aclose()
    return {
        "server": args.server,
        "not_asked": len(entries) - len(asked),
        **llm.report(comparisons, asked, instrumenter),
        **report(comparisons),
        "scores_where_accepted": report(llm.accepted(comparisons))["scores"],
    }


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
        "most_marks_printed": max((item.marks for item in comparisons), default=0),
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
    for key in (
        "model",
        "prompt_version",
        "not_asked",
        "never_sent",
        "accepted",
        "rejected",
        "claims",
        "seconds_a_program",
        "metrics",
    ):
        if key in result:
            print(f"{key}: {result[key]}")
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
