"""The experience store with 100,000 outcomes: time of an addition and of a choice, memory, size, and what a resume costs.

    python benchmarks/experience_store.py

Outcomes have the sizes of real ones: a program of 60 lines, 2,000 characters of output. Nine out of ten are valid, and half are
children of a chosen parent. Printed, and written to `docs/results/experience_store.json`. Each time is that of one call in
milliseconds, on the wall clock and in CPU time of the process. Where other programs run beside it, the median and the CPU time are
the ones to compare.
`--rows 5000` is a quick try.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from checkout import ROOT

from trl_mle.experience import STRATEGIES, ExperienceStore
from trl_mle.types import PROGRAM_METRICS, Execution, Grade, InstrumentedProgram, Milestone, Outcome, Program

MODELS = (
    "Ridge",
    "Lasso",
    "SVR",
    "KNeighborsRegressor",
    "RandomForestRegressor",
    "HistGradientBoostingRegressor",
    "MLPRegressor",
)
PREPARATION = ("", "StandardScaler(), ", "PowerTransformer(), ", "PCA(8), ", "PolynomialFeatures(2), ")
TASK = "builtin:computers"
DECILES = 10


def outcome(number: int, rng: random.Random) -> Outcome:
    """A made-up outcome of the usual size."""
    model, step = rng.choice(MODELS), rng.choice(PREPARATION)
    lines = [
        "import pandas as pd",
        "train = pd.read_csv('input/train.csv')",
        f"model = make_pipeline({step}{model}({number}))",
    ]
    lines += [f"feature_{index} = train['column_{index}'] * {rng.random():.3f}  # of the table" for index in range(55)]
    program = Program("Scale the columns, then fit a model and tune it. " * 4, "\n".join([*lines, "model.fit(X, y)"]))
    marked = InstrumentedProgram(
        f"{program.code}\nprint('mark')", program, "", tuple(Milestone), metrics=PROGRAM_METRICS
    )
    if rng.random() < 0.1:
        ran = Execution("error", 1, 1.0, 1.0, 2**28, "fit\n" * 500, "Traceback\n" * 40)
        parts = {"failure": -10.0, "milestones": 0.3}
        return Outcome(TASK, "failure", -9.7, 1.0, parts, program=program, instrumented=marked, execution=ran)
    score = rng.gauss(0.0, 0.3)
    metrics = dict.fromkeys(PROGRAM_METRICS, 0.5)
    ran = Execution("ok", 0, 1.0, 1.0, 2**28, "epoch\n" * 333, "", metrics=metrics, milestones=tuple(Milestone))
    grade = Grade(score, True)
    return Outcome(
        TASK, "valid", score, 1.0, {"score": score}, program=program, instrumented=marked, execution=ran, public=grade,
        private=grade,
    )  # fmt: skip


def memory_mib() -> float:
    """Resident memory of this process, in MiB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


class Clock:
    """Times of calls, in milliseconds."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def time(self, call: Callable) -> object:
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        self.wall.append(1000 * (time.perf_counter() - wall))
        self.cpu.append(1000 * (time.process_time() - cpu))
        return result

    def figures(self) -> dict[str, float]:
        wall, count = sorted(self.wall), len(self.wall)
        figures = {
            "mean": sum(wall) / count,
            "median": wall[count // 2],
            "p99": wall[int(0.99 * count)],
            "largest": wall[-1],
            "cpu_mean": sum(self.cpu) / count,
        }
        return {name: round(value, 3) for name, value in figures.items()}


def fill(store: ExperienceStore, rows: int, rng: random.Random) -> Iterator[tuple[Clock, float]]:
    """Add `rows` outcomes; after each tenth of them, the times of its additions and the memory in use."""
    parent = None
    for decile in range(DECILES):
        clock = Clock()
        for number in range(decile * rows // DECILES, (decile + 1) * rows // DECILES):
            if number % 8 == 0:  # a group of eight completions has one prompt
                improves = rng.random() < 0.5
                parent = store.choose_parent(TASK, rng.choice(list(STRATEGIES)), rng) if improves else None
            new = outcome(number, rng)
            kind, parent_id = ("improve", parent.id) if parent else ("scratch", None)
            clock.time(lambda: store.add(new, prompt_kind=kind, parent=parent_id, step=number // 32))  # noqa: B023
        yield clock, memory_mib()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="outcomes in the store")
    parser.add_argument("--calls", type=int, default=500, help="choices of each strategy")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the store is made; a temporary folder by default"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/experience_store.json")
    args = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "experience.sqlite"
        store = ExperienceStore(path)
        store.add(outcome(0, rng))
        store.choose_parent(TASK)  # imports what reading needs
        deciles = []
        for clock, memory in fill(store, args.rows, rng):
            deciles.append({"add_ms": clock.figures(), "memory_mib": round(memory, 1)})
            print(f"{len(deciles) * args.rows // DECILES:7} outcomes: {deciles[-1]}", flush=True)
        choices = {}
        for name in STRATEGIES:
            clock = Clock()
            for _ in range(args.calls):
                clock.time(lambda: store.choose_parent(TASK, name, rng))  # noqa: B023
            choices[name] = clock.figures()
            print(f"{name:15} {choices[name]}", flush=True)
        position = store.sync()
        once: dict[str, Clock] = {}

        def timed(name: str, call: Callable) -> object:
            result = once.setdefault(name, Clock()).time(call)
            print(f"{name}: {once[name].wall[-1] / 1000:.2f} s, CPU {once[name].cpu[-1] / 1000:.2f} s", flush=True)
            return result

        store.close()
        size = path.stat().st_size
        store = timed("open", lambda: ExperienceStore(path))  # type: ignore[assignment]
        for number in range(32):
            store.add(outcome(args.rows + number, rng))
        timed("rewind", lambda: store.rewind(position))
        timed("export", lambda: store.export(Path(folder) / "experience.parquet"))
        export_size = (Path(folder) / "experience.parquet").stat().st_size
        with ExperienceStore(Path(folder) / "other.sqlite") as other:
            timed("import", lambda: other.import_from(Path(folder) / "experience.parquet"))
        full = Clock()
        with store._database._connected() as connection:
            connection.execute("PRAGMA synchronous = FULL")
        for number in range(500):
            new = outcome(2 * args.rows + number, rng)
            full.time(lambda: store.add(new))  # noqa: B023
        store.close()
        result = {
            "command": f"python benchmarks/experience_store.py --rows {args.rows}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
            "load": round(os.getloadavg()[0], 1),
            "versions": {
                "trl_mle": version("trl_mle"),
                "python": platform.python_version(),
                "sqlite": sqlite3.sqlite_version,
            },
            "durability": "WAL, synchronous=NORMAL",
            "rows": args.rows,
            "store_bytes_per_row": size // args.rows,
            "export_bytes_per_row": export_size // args.rows,
            "deciles": deciles,
            "choose_parent_ms": choices,
            "once_s": {
                name: {"wall": round(clock.wall[0] / 1000, 3), "cpu": round(clock.cpu[0] / 1000, 3)}
                for name, clock in once.items()
            },
            "add_with_synchronous_full_ms": full.figures(),
        }
        print(f"add with synchronous=FULL: {full.figures()}")
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
