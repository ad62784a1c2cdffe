"""Worst-case time of extraction and instrumentation against the length of the text, for texts that a policy could write.

    python benchmarks/worst_case.py                    # about ten minutes on two cores
    python benchmarks/worst_case.py --texts 2000       # a short run

Random texts are mixtures of pieces of programs and completions. The generators of `tests/support/hostile_texts.py` were made by
reading the code that they attack: each grows until its text has the largest length that extraction reads. Times are CPU seconds of
one thread. A text that raises, or an instrumenter that fails, ends the run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import time
from importlib.metadata import version
from pathlib import Path

from checkout import ROOT
from rich.progress import track

from tests.support.hostile_texts import COMPLETIONS, FENCE, PROGRAMS, random_text
from trl_mle import ASTInstrumenter, extract_program
from trl_mle.errors import ExtractionError
from trl_mle.instrumentation import fallbacks, new_nonce
from trl_mle.programs.extract import MAX_CHARACTERS

RESULTS = ROOT / "docs/results/worst_case.json"
EDGES = (100, 1_000, 10_000, 50_000, MAX_CHARACTERS)
"""Upper ends of the classes of length, in characters."""


def measure(text: str) -> tuple[float, str]:
    """CPU seconds of extraction and instrumentation, and what became of the text."""
    started = time.thread_time()
    try:
        program = extract_program(text)
    except ExtractionError as error:
        return time.thread_time() - started, error.reason
    instrumented = ASTInstrumenter().instrument(program, new_nonce())
    if instrumented.fallback_kind == fallbacks.FAILED:
        raise AssertionError(f"instrumentation failed: {instrumented.fallback_reason}")
    return time.thread_time() - started, instrumented.fallback_kind or "instrumented"


def measure_random(seed: int, count: int) -> list[tuple[int, float, str]]:
    """Length, seconds and fate of `count` random texts."""
    source = random.Random(seed)
    texts = (random_text(source) for _ in range(count))
    return [(len(text), *measure(text)) for text in texts]


def measure_generator(item: tuple[str, str, int]) -> tuple[str, int, float, str]:
    """Name, length, seconds and fate of the longest text of one generator below `limit` characters."""
    kind, name, limit = item
    make = (PROGRAMS if kind == "program" else COMPLETIONS)[name]
    wrap = (lambda code: f"{FENCE}python\n{code}\n{FENCE}\n") if kind == "program" else (lambda text: text)
    low, high = 1, 2
    while len(wrap(make(high))) <= limit and high < limit:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(wrap(make(middle))) <= limit else (low, middle)
    text = wrap(make(low))
    return f"{kind}: {name}", len(text), *measure(text)


def _measure_share(share: tuple[int, int]) -> list[tuple[int, float, str]]:
    return measure_random(*share)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200_000, help="number of random texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go")
    args = parser.parse_args()
    shares = [
        (args.seed * 1_000_003 + number, min(500, args.texts - 500 * number))
        for number in range(-(-args.texts // 500))
    ]
    kinds = {"program": PROGRAMS, "completion": COMPLETIONS}
    jobs = [(kind, name, edge) for kind, generators in kinds.items() for name in generators for edge in EDGES]
    with multiprocessing.Pool(args.processes) as pool:
        found: list[tuple[int, float, str]] = []
        for rows in track(pool.imap_unordered(_measure_share, shares), total=len(shares), description="random texts"):
            found += rows
        made = list(track(pool.imap_unordered(measure_generator, jobs), total=len(jobs), description="generators"))
    table = []
    for low, high in zip((0, *EDGES), EDGES, strict=False):
        mixed = [(seconds, fate) for length, seconds, fate in found if low < length <= high]
        built = [(seconds, name, fate) for name, length, seconds, fate in made if low < length <= high]
        worst = max(built, default=(0.0, "-", "-"))
        table.append(
            {"characters": high, "random_texts": len(mixed), "random_worst_s": round(max(mixed, default=(0.0, ""))[0], 3),
             "made_texts": len(built), "made_worst_s": round(worst[0], 3), "worst": worst[1], "fate": worst[2]}
        )  # fmt: skip
    fates: dict[str, int] = {}
    for _, _, fate in found:
        fates[fate] = fates.get(fate, 0) + 1
    machine = {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "trl_mle": version("trl_mle"),
    }
    args.out.write_text(
        json.dumps({"machine": machine, "seed": args.seed, "table": table, "fates": fates}, indent=2) + "\n"
    )
    print(
        f"{'characters':>12} {'random texts':>13} {'worst, s':>9} {'made texts':>11} {'worst, s':>9}  worst of these"
    )
    for row in table:
        print(
            f"{row['characters']:>12,} {row['random_texts']:>13,} {row['random_worst_s']:>9.3f} {row['made_texts']:>11} "
            f"{row['made_worst_s']:>9.3f}  {row['worst']} ({row['fate']})"
        )
    print(f"{len(found):,} random and {len(made)} made texts: no exception, no failed instrumentation.")


if __name__ == "__main__":
    main()
