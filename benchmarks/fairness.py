"""Honest programs beside hostile ones: 8 of each, 2 CPU seconds each, on 2 workers.

    python benchmarks/fairness.py

An honest program computes for 2 CPU seconds and writes an exact submission. A hostile one keeps 60 processes busy, each in a
session of its own, until it has used its time. Printed: wall-clock seconds of an honest program alone, beside honest ones, and
beside hostile ones, and whether every honest result is exact.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path

from checkout import ROOT
from rich.console import Console

from tests.support.tasks import toy_task
from trl_mle import LocalSandbox, ProgramScorer
from trl_mle.config import SandboxConfig
from trl_mle.types import Program

RESULTS = ROOT / "docs/results/fairness.json"
HONEST = """
import csv, time
while time.process_time() < {cpu_s}: pass
ids = [row["id"] for row in csv.DictReader(open("input/test.csv"))]
with open("submission.csv", "w") as file:
    file.write("id,y\\n" + "".join(f"{{id_}},0.5\\n" for id_ in ids))
"""
HOSTILE = """
import os, time
end = time.monotonic() + {cpu_s}
for _ in range(59):
    if os.fork() == 0:
        os.setsid()
        break
while time.monotonic() < end: pass
"""


async def measure(count: int, cpu_s: float) -> dict[str, object]:
    """Seconds of honest programs in three situations."""
    with tempfile.TemporaryDirectory() as folder:
        task = toy_task(Path(folder))
        async with ProgramScorer(LocalSandbox(SandboxConfig(workers=2)), wall_s=20 * cpu_s) as scorer:

            async def run(code: str) -> object:
                return await scorer.score(Program("", code.format(cpu_s=cpu_s)), task)

            alone = [await run(HONEST) for _ in range(3)]
            beside_honest = await asyncio.gather(*(run(HONEST) for _ in range(count)))
            mixed = await asyncio.gather(*(run(code) for _ in range(count) for code in (HOSTILE, HONEST)))
    honest, hostile = mixed[1::2], mixed[::2]
    base = statistics.median(outcome.duration_s for outcome in alone)
    rewards = {outcome.reward for outcome in (*alone, *beside_honest, *honest)}
    return {
        "alone_s": round(base, 3),
        "beside_honest_s": [round(outcome.duration_s, 3) for outcome in beside_honest],
        "beside_hostile_s": [round(outcome.duration_s, 3) for outcome in honest],
        "largest_ratio": round(max(outcome.duration_s for outcome in honest) / base, 3),
        "exact": len(rewards) == 1 and all(outcome.kind == "valid" for outcome in honest),
        "hostile": sorted({outcome.kind for outcome in hostile}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=8, help="honest ones, and as many hostile ones")
    parser.add_argument("--cpu-s", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures go")
    args = parser.parse_args()
    found = asyncio.run(measure(args.programs, args.cpu_s))
    found["machine"] = {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    Console().print(found)


if __name__ == "__main__":
    main()
