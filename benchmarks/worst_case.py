"""Worst-case time of extraction, instrumentation and scoring against the length of the text, for texts that a policy could write.

    python benchmarks/worst_case.py                    # about 15 minutes on two idle cores
    python benchmarks/worst_case.py --texts 2000       # a short run
    python benchmarks/worst_case.py --show 1234        # print one of the random texts

Random texts are completions with programs of a grammar (`tests/support/generated_programs.py`). Most have 200 to 3,000 characters,
one in 500 up to 195,000. At least 60 % must reach the analysis. Every 20th is scored by `ProgramScorer`, with a sandbox that
answers at once: a submission, a crash, a time-out, a submission that is no CSV, in turn. The generators of
`tests/support/hostile_texts.py` were made by reading the code that they attack: each grows until its text has the largest length
that extraction reads.

Times are CPU seconds of one process. A text is a fault if something raises, if an instrumenter fails, if the analysis refuses a
text as no Python that Python parses, if a reward is not finite or `None`, or if it takes more than 5 s. Faults are printed, and
the exit code is then 1.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import atexit
import json
import math
import multiprocessing
import os
import platform
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from checkout import ROOT
from rich.progress import track

from tests.support.generated_completions import random_completion
from tests.support.hostile_texts import COMPLETIONS, FENCE, PROGRAMS
from tests.support.sandbox_doubles import Repeating, execution
from tests.support.tasks import toy_task
from trl_mle import ASTInstrumenter, ProgramScorer, Task, extract_program
from trl_mle.errors import ExtractionError
from trl_mle.instrumentation import fallbacks, new_nonce
from trl_mle.programs.extract import MAX_CHARACTERS
from trl_mle.types import InstrumentedProgram, Outcome

RESULTS = ROOT / "docs/results/worst_case.json"
EDGES = (100, 1_000, 3_000, 10_000, 50_000, MAX_CHARACTERS)
"""Upper ends of the classes of length, in characters."""
SHARE = 200
"""Texts that a process makes in a row."""
SCORED = 20
"""One text in so many is scored."""
LEAST_ANALYSED = 0.6
MOST_S = 5.0
ANALYSED = ("instrumented", fallbacks.NO_MILESTONE, fallbacks.NOT_VERIFIED, fallbacks.TOO_COMPLEX)
KINDS = ("valid", "failure", "timeout", "failure")
"""Kinds of the outcomes of `answers`."""


@dataclass(frozen=True)
class Measured:
    """What became of one text."""

    name: str
    length: int
    seconds: float
    fate: str
    """Reason of the extraction, kind of the fallback, or `instrumented`."""
    scored: bool
    fault: str | None


OWN_LIMITS = ("nested too deeply", "a dotted name has more than", "combining characters in a row")
"""Words of the reasons why the package does not parse what Python does: its limits of depth and of names (`parsing.py`)."""


def text_of(seed: int, number: int) -> str:
    return random_completion(random.Random(f"{seed} {number}"))


def _analyse(text: str) -> tuple[str, str | None]:
    """Fate and fault of a text that is extracted and instrumented."""
    try:
        program = extract_program(text)
    except ExtractionError as error:
        return error.reason, None
    return _fate(ASTInstrumenter().instrument(program, new_nonce()))


def _fate(instrumented: InstrumentedProgram) -> tuple[str, str | None]:
    kind, reason = instrumented.fallback_kind or "instrumented", instrumented.fallback_reason or ""
    if kind == fallbacks.FAILED:
        return kind, f"instrumentation failed: {reason}"
    # Other refusals than those by a limit of the package must be Python's. Python itself may take minutes for these.
    limited = any(words in reason for words in OWN_LIMITS)
    if kind == fallbacks.NOT_PARSED and not limited and _parses(instrumented.program.code):
        return kind, f"refused, although Python parses it: {reason}"
    return kind, None


def _parses(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
        return True
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


@cache
def _task() -> Task:
    folder = tempfile.TemporaryDirectory(prefix="worst-case-")
    atexit.register(folder.cleanup)
    return toy_task(Path(folder.name))


def _scorer() -> ProgramScorer:
    sample = (_task().public_dir / "sample_submission.csv").read_bytes()
    answers = (
        execution(submission=sample),
        execution("error", exit_code=1),
        execution("timeout", exit_code=None),
        execution(submission=b'id,y\n"\xff\n1,,,\n\0'),
    )
    return ProgramScorer(Repeating(*answers))


async def _score(scorer: ProgramScorer, text: str) -> tuple[str, str | None]:
    outcome: Outcome = await scorer.score(text, _task())
    if outcome.reward is None or not math.isfinite(outcome.reward):
        return outcome.kind, f"the reward is {outcome.reward}: {outcome.fault}"
    if outcome.instrumented is None:
        return outcome.extraction_reason or "unknown", None
    expected = KINDS[scorer.sandbox.sandbox.calls % len(KINDS)]  # type: ignore[attr-defined]
    fate, fault = _fate(outcome.instrumented)
    return fate, fault if outcome.kind == expected else f"the outcome is {outcome.kind}, not {expected}"


@cache
def _warm_up() -> None:
    """Import what graders import at their first submission, so that no text is charged for it."""

    async def score_all() -> None:
        async with _scorer() as scorer:
            for _ in KINDS:
                await scorer.score(f"{FENCE}python\nimport pandas\n{FENCE}", _task())

    asyncio.run(score_all())


async def _measure_share(share: tuple[int, range]) -> list[Measured]:
    found = []
    seed, numbers = share
    async with _scorer() as scorer:
        for number in numbers:
            text, scored = text_of(seed, number), number % SCORED == 0
            started = time.process_time()
            try:
                fate, fault = await _score(scorer, text) if scored else _analyse(text)
            except Exception as error:
                fate, fault = "raised", f"{type(error).__name__}: {error}"
            seconds = time.process_time() - started
            if fault is None and seconds > MOST_S:
                fault = f"{seconds:.1f} s"
            found.append(Measured(f"random text {number}", len(text), seconds, fate, scored, fault))
    return found


def measure_share(share: tuple[int, range]) -> list[Measured]:
    """What became of some random texts."""
    _warm_up()
    return asyncio.run(_measure_share(share))


def measure_generator(item: tuple[str, str, int]) -> Measured:
    """What became of the longest text of one generator below `limit` characters."""
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
    started = time.process_time()
    fate, fault = _analyse(text)
    seconds = time.process_time() - started
    if fault is None and seconds > MOST_S:
        fault = f"{seconds:.1f} s"
    return Measured(f"{kind}: {name}", len(text), seconds, fate, False, fault)


def tabulate(found: Iterable[Measured], made: Iterable[Measured]) -> list[dict]:
    """One row per class of length, with the largest seconds."""
    found, made, table = list(found), list(made), []
    for low, high in zip((0, *EDGES), EDGES, strict=False):
        mixed = [one for one in found if low < one.length <= high]
        scored = [one for one in mixed if one.scored]
        built = [one for one in made if low < one.length <= high]
        worst = max(built, key=lambda one: one.seconds, default=None)
        table.append(
            {
                "characters": high,
                "random_texts": len(mixed),
                "analysed": sum(one.fate in ANALYSED for one in mixed),
                "random_worst_s": _largest(mixed),
                "scored": len(scored),
                "scored_worst_s": _largest(scored),
                "made_texts": len(built),
                "made_worst_s": _largest(built),
                "worst": worst.name if worst else "-",
                "fate": worst.fate if worst else "-",
            }
        )
    return table


def _largest(found: list[Measured]) -> float:
    return round(max((one.seconds for one in found), default=0.0), 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200_000, help="number of random texts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--edges", type=int, nargs="*", default=list(EDGES), help="lengths of the texts of the generators"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go")
    parser.add_argument("--show", type=int, metavar="NUMBER", help="print this random text instead")
    args = parser.parse_args()
    if args.show is not None:
        sys.stdout.buffer.write(text_of(args.seed, args.show).encode(errors="surrogatepass"))
        return 0
    shares = [(args.seed, range(low, min(low + SHARE, args.texts))) for low in range(0, args.texts, SHARE)]
    kinds = {"program": PROGRAMS, "completion": COMPLETIONS}
    jobs = [(kind, name, edge) for kind, generators in kinds.items() for name in generators for edge in args.edges]
    started = time.perf_counter()
    with multiprocessing.Pool(args.processes) as pool:
        found: list[Measured] = []
        for rows in track(pool.imap_unordered(measure_share, shares), total=len(shares), description="random texts"):
            found += rows
        made = list(track(pool.imap_unordered(measure_generator, jobs), total=len(jobs), description="generators"))
    table, fates = tabulate(found, made), Counter(one.fate for one in found)
    share = sum(one.fate in ANALYSED for one in found) / max(len(found), 1)
    faults = [f"{one.name}: {one.fault}" for one in (*found, *made) if one.fault is not None]
    if share < LEAST_ANALYSED and found:
        faults.append(f"only {share:.0%} of the random texts reach the analysis")
    result = {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)},
        "versions": {"python": platform.python_version(), "trl_mle": version("trl_mle")},
        "texts": len(found), "seed": args.seed, "wall_s": round(time.perf_counter() - started),
        "analysed_share": round(share, 4), "table": table, "fates": dict(fates.most_common()), "faults": faults,
    }  # fmt: skip
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(
        "| characters, up to | random texts | analysed | worst, s | scored | worst, s | made texts | worst, s | worst of these |"
    )
    print("|" + "---|" * 9)
    for row in table:
        count, analysed = row["random_texts"], row["analysed"] / max(row["random_texts"], 1)
        print(
            f"| {row['characters']:,} | {count:,} | {analysed:.0%} | {row['random_worst_s']:.3f} | {row['scored']:,} | "
            f"{row['scored_worst_s']:.3f} | {row['made_texts']} | {row['made_worst_s']:.3f} | {row['worst']} ({row['fate']}) |"
        )
    print(
        f"{len(found):,} random texts, {share:.1%} of them analysed, and {len(made)} made ones: {len(faults)} faults."
    )
    for fault in faults[:20]:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
