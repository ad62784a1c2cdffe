"""How fast is the sandbox, what does it add to a program, and does its memory stay where it is?

    python benchmarks/sandbox.py

Three ways to run a program, in turn within every round, so that the noise of the machine meets all of them alike:

- `cold`: `python main.py`, not confined;
- `bubblewrap`: the same inside of `bwrap`, with own namespaces and a read-only view of the system;
- `sandbox`: `LocalSandbox`, whose workers have imported the usual libraries.

All have a fresh folder with the task's files under `input/`, the same environment with one thread for the numerical
libraries and the same hash seed, and every program must end well with a submission. A latency is the time from the
program's text to its output and submission, making and removing the folder included. As many programs run at a time as
there are workers, and none waits for a place while its time is taken. The interpreter keeps its usual settings: the
libraries' bytecode is on disk and in the page cache after one round that is not counted.

The memory of the workers is looked at while they are idle: resident, without files ("anonymous") and in no other process
("unique", which also changes when any other process maps the same libraries). All of it takes about 15 minutes on two
cores with nothing else to do. Writes `docs/results/sandbox.json` with all numbers and a
picture beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import unittest.mock
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from scipy import stats

from trl_mle.config import SandboxConfig
from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.local.runner.worker_command import environment
from trl_mle.types import Limits, TaskSpec

ROOT = Path(__file__).parent.parent
WAYS = ("cold", "bubblewrap", "sandbox")
LEAST_RATIO = 12.0
"""So many times the programs per second of `cold` should the sandbox run, for a typical program."""
MOST_OVERHEAD_S = 0.020
"""So much time may the sandbox add to the program's own CPU time, in the median, in seconds."""
MOST_SLOPE_BYTES = 1024.0
"""Growth of all workers together for each program that is as good as none, in bytes."""
IDLE_S = 0.2
"""How long the process that replied for a program may take to end, in seconds."""
MEMORY_STEP = 50
"""Programs between two looks at the memory."""
SETTLED = 0.1
"""Share of the programs after which the workers have seen everything once; the slope is of what follows."""

_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")

PROGRAMS = {
    "tiny": """
print("hello")
with open("submission.csv", "w") as file:
    file.write("id,y\\n0,1\\n")
""",
    "typical": """
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

train, test = pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")
features = [column for column in test.columns if column != "id"]
model = make_pipeline(StandardScaler(), LogisticRegression())
model.fit(train[features], train["y"])
print("accuracy:", model.score(train[features], train["y"]))
test.assign(y=model.predict(test[features]))[["id", "y"]].to_csv("submission.csv", index=False)
""",
    "heavy": """
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

random = np.random.default_rng(0)
x = random.normal(size=(6000, 20))
y = (x[:, 0] * x[:, 1] + x[:, 2] + random.normal(size=len(x)) > 0).astype(int)
boosted = HistGradientBoostingClassifier(max_iter=200, random_state=0).fit(x, y)
forest = RandomForestClassifier(80, random_state=0).fit(x, y)
print("accuracy:", boosted.score(x, y), forest.score(x, y))
pd.DataFrame({"id": range(len(x)), "y": boosted.predict(x)}).to_csv("submission.csv", index=False)
""",
}
ALLOCATING = """
import numpy as np

blocks = [np.ones(8 * 2**20, dtype="uint8") for _ in range(12)]
rows = [{"id": number, "y": str(number)} for number in range(50_000)]
print(sum(int(block[-1]) for block in blocks), len(rows))
with open("submission.csv", "w") as file:
    file.writelines(f"{row['id']},{row['y']}\\n" for row in rows[:1000])
"""
MEMORY_PROGRAMS = {"tiny": PROGRAMS["tiny"], "typical": PROGRAMS["typical"], "allocating": ALLOCATING}
PER_ROUND = {"tiny": 8, "typical": 4, "heavy": 1}
"""Programs of a round for each worker."""


@dataclass(frozen=True)
class Timing:
    """One program that ran, in seconds."""

    latency_s: float
    cpu_s: float | None = None
    """CPU time of the program alone, where the way knows it."""
    wall_s: float | None = None
    """Wall-clock time of the program alone, where the way knows it."""


Way = Callable[[str], Awaitable[Timing]]


def make_task(folder: Path) -> TaskSpec:
    """A classification with 500 rows to learn from, 200 to predict and 8 columns."""
    numbers = np.random.default_rng(0)
    table = pd.DataFrame(numbers.normal(size=(700, 8)), columns=[f"x{number}" for number in range(8)])
    table.insert(0, "id", range(len(table)))
    table["y"] = (table["x0"] - table["x1"] + numbers.normal(size=len(table)) > 0).astype(int)
    for name in ("public", "private"):
        (folder / name).mkdir(parents=True)
    table[:500].to_csv(folder / "public/train.csv", index=False)
    table[500:].drop(columns="y").to_csv(folder / "public/test.csv", index=False)
    return TaskSpec(
        id="benchmark",
        title="Benchmark",
        description="",
        folder=folder,
        metric="accuracy",
        direction="maximize",
        id_column="id",
        prediction_columns=("y",),
        target_column="y",
    )


def bubblewrap(folder: Path, public: Path) -> list[str]:
    """The command before `python main.py` that shows a program the system, the interpreter and its folder alone."""
    seen = [path for path in _SYSTEM if os.path.exists(path)]
    seen += [path for path in dict.fromkeys((sys.prefix, sys.base_prefix)) if not path.startswith("/usr/")]
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session"]
    command += ["--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
    for path in seen:
        command += ["--ro-bind", path, path]
    return [*command, "--bind", str(folder), str(folder), "--ro-bind", str(public), str(folder / "input"),
            "--chdir", str(folder), "--"]  # fmt: skip


def run_process(code: str, public: Path, scratch: Path, confined: bool) -> Timing:
    """Run `code` in an interpreter of its own, as `cold` or, where `confined`, inside of bubblewrap."""
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=scratch))
    try:
        (folder / "main.py").write_text(code)
        if confined:
            (folder / "input").mkdir()
        else:
            (folder / "input").symlink_to(public)
        command = [*(bubblewrap(folder, public) if confined else ()), sys.executable, "main.py"]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            start_new_session=True,  # as the sandbox's workers: the kernel shares the cores among sessions
        )
        if done.returncode != 0 or not done.stdout:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode('utf-8', 'replace')}")
        submission = (folder / "submission.csv").read_bytes()
    finally:
        shutil.rmtree(folder)
    timing = Timing(time.perf_counter() - started)
    _check(submission)
    return timing


async def run_sandbox(code: str, task: TaskSpec, sandbox: LocalSandbox) -> Timing:
    """Run `code` in `sandbox`, which must have a free worker."""
    started = time.perf_counter()
    execution = await sandbox.run(code, task, Limits(wall_s=120))
    latency_s = time.perf_counter() - started
    if execution.status != "ok" or not execution.stdout:
        raise RuntimeError(f"the sandbox's program ended with {execution.status!r}: {execution.stderr}")
    _check(execution.submission)
    return Timing(latency_s, execution.cpu_s, execution.wall_s)


def _check(submission: bytes | None) -> None:
    if not submission or submission.count(b"\n") < 2:
        raise RuntimeError(f"a program wrote no submission but {submission!r}")


async def measure(way: Way, code: str, number: int, workers: int) -> tuple[float, list[Timing]]:
    """Run `code` so many times, `workers` at a time; seconds in all, and each program's own."""
    left = iter(range(number))
    timings: list[Timing] = []

    async def worker() -> None:
        for _ in left:
            timings.append(await way(code))

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(workers)))
    return time.perf_counter() - started, timings


async def measure_speed(
    args: argparse.Namespace, task: TaskSpec, scratch: Path, bar: Progress
) -> list[dict[str, Any]]:
    """All ways, programs and numbers of workers, in turn; one record for each of them in each round."""
    names = [way for way in WAYS if way != "bubblewrap" or shutil.which("bwrap")]
    order = random.Random(args.seed)
    records: list[dict[str, Any]] = []
    async with AsyncExitStack() as stack:
        sandboxes = {
            workers: await stack.enter_async_context(LocalSandbox(SandboxConfig(workers=workers)))
            for workers in args.workers
        }

        def way(name: str, workers: int) -> Way:
            if name == "sandbox":
                return lambda code: run_sandbox(code, task, sandboxes[workers])
            return lambda code: asyncio.to_thread(run_process, code, task.public_dir, scratch, name == "bubblewrap")

        steps = [(program, workers, name) for program in args.programs for workers in args.workers for name in names]
        shown = bar.add_task("speed", total=len(steps) * (args.rounds + 1))
        for number in range(args.rounds + 1):
            for program, workers in sorted({step[:2] for step in steps}):
                order.shuffle(names)
                for name in names:
                    warming = number == 0
                    count = workers * (1 if warming else PER_ROUND[program])
                    seconds, timings = await measure(way(name, workers), PROGRAMS[program], count, workers)
                    bar.advance(shown)
                    if not warming:
                        records.append(_record(number, program, workers, name, seconds, timings))
    return records


def _record(
    number: int, program: str, workers: int, way: str, seconds: float, timings: list[Timing]
) -> dict[str, Any]:
    record: dict[str, Any] = {"round": number, "program": program, "workers": workers, "way": way}
    record |= {"seconds": round(seconds, 6), "programs_per_s": round(len(timings) / seconds, 4)}
    for name in ("latency_s", "cpu_s", "wall_s"):
        values = [getattr(timing, name) for timing in timings]
        if None not in values:
            record[name] = [round(value, 6) for value in values]
    return record


async def measure_memory(args: argparse.Namespace, task: TaskSpec, scratch: Path, bar: Progress) -> dict[str, Any]:
    """Run many programs of mixed kinds and look at the idle workers every `MEMORY_STEP` programs."""
    workers = max(args.workers)
    order = random.Random(args.seed)
    names = sorted(MEMORY_PROGRAMS)
    samples: list[dict[str, int]] = []
    shown = bar.add_task("memory", total=args.memory)
    others = {process.pid for process in psutil.Process().children(recursive=True)}
    with tempfile.TemporaryDirectory(dir=scratch) as own, unittest.mock.patch.object(tempfile, "tempdir", own):
        async with LocalSandbox(SandboxConfig(workers=workers)) as sandbox:
            samples.append(sample(0, others, Path(own)))
            for first in range(0, args.memory, MEMORY_STEP):
                step = min(MEMORY_STEP, args.memory - first)
                codes = iter([MEMORY_PROGRAMS[order.choice(names)] for _ in range(step)])
                await measure(lambda _, codes=codes: run_sandbox(next(codes), task, sandbox), "", step, workers)
                samples.append(sample(first + step, others, Path(own)))
                bar.advance(shown, step)
    return {"workers": workers, "programs": args.memory, "kinds": names, "samples": samples}


def sample(programs: int, others: set[int], scratch: Path) -> dict[str, int]:
    """What the sandbox's processes have, all together, after so many programs and when these have gone."""
    time.sleep(IDLE_S)
    processes = [process for process in psutil.Process().children(recursive=True) if process.pid not in others]
    return {
        "programs": programs,
        "processes": len(processes),
        "rss_bytes": sum(process.memory_info().rss for process in processes),
        "anonymous_bytes": sum(_anonymous_bytes(process) for process in processes),
        "unique_bytes": sum(_unique_bytes(process) for process in processes),
        "open_files": sum(process.num_fds() for process in processes),
        "scratch_entries": sum(1 for _ in scratch.rglob("*")),
        "host_rss_bytes": psutil.Process().memory_info().rss,
        "host_open_files": psutil.Process().num_fds(),
    }


def _anonymous_bytes(process: psutil.Process) -> int:
    """Resident memory without files: unlike the unique one, it is the same whoever else uses the same libraries."""
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def _unique_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)


def slope(programs: list[float], values: list[float]) -> dict[str, float] | None:
    """Least-squares growth of `values` for each program, with its 95 % interval; `None` for fewer than 4 points.

    Samples that follow one another are alike, so that the true interval is rather wider.
    """
    if len(programs) < 4:
        return None
    if len(set(values)) == 1:
        return {"per_program": 0.0, "low": 0.0, "high": 0.0}
    fit = stats.linregress(programs, values)
    half = float(stats.t.ppf(0.975, len(programs) - 2) * fit.stderr)
    return {"per_program": float(fit.slope), "low": float(fit.slope) - half, "high": float(fit.slope) + half}


def quartiles(values: list[float]) -> dict[str, float]:
    """Median, lower and upper quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "q1": float(low), "q3": float(high)}


def summarise_speed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each program, number of workers and way."""
    keys = dict.fromkeys((record["program"], record["workers"], record["way"]) for record in records)
    rows = []
    for program, workers, way in sorted(
        keys, key=lambda key: (list(PROGRAMS).index(key[0]), key[1], WAYS.index(key[2]))
    ):
        group = [
            record
            for record in records
            if (record["program"], record["workers"], record["way"]) == (program, workers, way)
        ]
        latencies = [value for record in group for value in record["latency_s"]]
        row: dict[str, Any] = {"program": program, "workers": workers, "way": way}
        row["programs_per_s"] = quartiles([record["programs_per_s"] for record in group])
        row["latency_s"] = _median_and_p95(latencies)
        if way == "sandbox":
            for name, part in (("over_cpu_s", "cpu_s"), ("over_wall_s", "wall_s")):
                own = [value for record in group for value in record[part]]
                row[name] = _median_and_p95([all_of_it - part for all_of_it, part in zip(latencies, own, strict=True)])
            row["cpu_s"] = _median_and_p95([value for record in group for value in record["cpu_s"]])
            rates = {record["round"]: record["programs_per_s"] for record in group}
            for other in WAYS[:-1]:
                ratios = [
                    rates[record["round"]] / record["programs_per_s"]
                    for record in records
                    if (record["program"], record["workers"], record["way"]) == (program, workers, other)
                ]
                if ratios:
                    row[f"times_{other}"] = quartiles(ratios)
        rows.append(row)
    return rows


def _median_and_p95(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "p95": float(np.percentile(values, 95))}


def summarise_memory(memory: dict[str, Any]) -> dict[str, Any]:
    """The growth of everything that was looked at, after the first `SETTLED` of the programs."""
    samples = memory["samples"]
    settled = [one for one in samples if one["programs"] >= SETTLED * memory["programs"]]
    programs = [one["programs"] for one in settled]
    names = [name for name in samples[0] if name not in ("programs",)]
    return {
        name: {
            "first": samples[0][name],
            "settled": settled[0][name],
            "last": samples[-1][name],
            "slope": slope(programs, [one[name] for one in settled]),
        }
        for name in names
    }


def judge(rows: list[dict[str, Any]], memory: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What was asked for, what was found, and whether that is enough."""
    found = []
    for row in rows:
        if row["program"] != "typical" or row["way"] != "sandbox":
            continue
        where = f"typical, {row['workers']} at a time"
        if "times_cold" in row:
            ratio = row["times_cold"]["median"]
            found.append(
                _verdict(f"times cold's programs/s ({where})", ratio, f">= {LEAST_RATIO:g}", ratio >= LEAST_RATIO)
            )
        over = row["over_cpu_s"]["median"]
        found.append(
            _verdict(
                f"ms over CPU time ({where})", 1000 * over, f"<= {1000 * MOST_OVERHEAD_S:g}", over <= MOST_OVERHEAD_S
            )
        )
    for name in ("rss_bytes", "anonymous_bytes") if memory else ():
        grown = memory[name]["slope"] if memory else None
        if grown is not None:
            met = grown["high"] <= MOST_SLOPE_BYTES
            words = f"<= {MOST_SLOPE_BYTES:g} at 95 %"
            found.append(
                _verdict(f"{name.replace('_bytes', '')} bytes of growth per program", grown["per_program"], words, met)
            )
    for name in ("open_files", "scratch_entries") if memory else ():
        grown = memory[name]["last"] - memory[name]["settled"] if memory else 0
        found.append(_verdict(f"more {name.replace('_', ' ')} at the end", grown, "<= 10", grown <= 10))
    return found


def _verdict(name: str, value: float, asked: str, met: bool) -> dict[str, Any]:
    return {"name": name, "value": round(float(value), 3), "asked": asked, "met": bool(met)}


def draw(rows: list[dict[str, Any]], memory: dict[str, Any] | None, fits: dict[str, Any] | None, path: Path) -> None:
    """Programs per second as bars, and the workers' memory over the programs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = dict(zip(WAYS, ("#9a9a9a", "#d08c3f", "#2f6db3"), strict=True))
    panels = [name for name, there in (("speed", rows), ("memory", memory)) if there]
    figure, axes = plt.subplots(1, len(panels), figsize=(6.6 * len(panels), 4.2), squeeze=False, layout="constrained")
    for panel, axis in zip(panels, axes[0], strict=True):
        axis.spines[["top", "right"]].set_visible(False)
        if panel == "speed":
            groups = list(dict.fromkeys((row["program"], row["workers"]) for row in rows))
            ways = [way for way in WAYS if any(row["way"] == way for row in rows)]
            width = 0.8 / len(ways)
            for row in rows:
                rate = row["programs_per_s"]
                place = (
                    groups.index((row["program"], row["workers"]))
                    + (ways.index(row["way"]) - (len(ways) - 1) / 2) * width
                )
                spread = [[rate["median"] - rate["q1"]], [rate["q3"] - rate["median"]]]
                axis.bar(
                    place, rate["median"], width, yerr=spread, color=colours[row["way"]], capsize=2, ecolor="#333333"
                )
                axis.annotate(f"{rate['median']:.3g}", (place, rate["q3"]), (0, 3), textcoords="offset points",
                              ha="center", va="bottom", fontsize=6)  # fmt: skip
            axis.set_yscale("log")
            axis.margins(y=0.12)
            axis.set_xticks(range(len(groups)), [f"{program}\n{workers} at a time" for program, workers in groups])
            axis.tick_params(axis="x", labelsize=8)
            axis.set_ylabel("programs per second (median, quartiles of rounds)")
            handles = [plt.Rectangle((0, 0), 1, 1, color=colours[way]) for way in ways]
            axis.legend(handles, ways, frameon=False, ncols=len(ways), loc="lower left", bbox_to_anchor=(0, 1))
        elif memory is not None:
            programs = [one["programs"] for one in memory["samples"]]
            for name, label, colour in (
                ("rss_bytes", "resident", "#2f6db3"),
                ("unique_bytes", "unique", "#d08c3f"),
                ("anonymous_bytes", "anonymous", "#5a9a5a"),
            ):
                values = [one[name] / 2**20 for one in memory["samples"]]
                fit = fits[name]["slope"] if fits else None
                if fit is not None:
                    half = (fit["high"] - fit["low"]) / 2
                    label += f": {fit['per_program']:+.0f} ± {half:.0f} bytes per program"
                axis.plot(programs, values, marker=".", color=colour, label=label)
            axis.set_ylim(0, 1.1 * max(one["rss_bytes"] for one in memory["samples"]) / 2**20)
            axis.set_xlabel("programs run")
            axis.set_ylabel(f"MiB, all processes of {memory['workers']} idle worker(s)")
            axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def show(result: dict[str, Any], console: Console) -> None:
    """The results as tables."""
    table = Table("program", "at a time", "way", *("programs/s", "latency ms", "p95", "over CPU ms", "p95"),
                  *("over wall ms", "p95", "x cold", "x bubblewrap"))  # fmt: skip
    for row in result["speed"]:
        milliseconds = [
            f"{1000 * row[name][part]:.1f}" if name in row else ""
            for name in ("latency_s", "over_cpu_s", "over_wall_s")
            for part in ("median", "p95")
        ]
        rates = [
            "{median:.3g} ({q1:.3g}-{q3:.3g})".format(**row[name]) if name in row else ""
            for name in ("programs_per_s", "times_cold", "times_bubblewrap")
        ]
        table.add_row(row["program"], str(row["workers"]), row["way"], rates[0], *milliseconds, *rates[1:])
    if result["speed"]:
        console.print(table)
    if result["memory"]:
        table = Table("idle workers", "at first", "settled", "at last", "growth per program", "95 % interval")
        for name, row in result["memory"].items():
            grown = row["slope"]
            words = (
                ("", "")
                if grown is None
                else (f"{grown['per_program']:.4g}", f"{grown['low']:.4g} to {grown['high']:.4g}")
            )
            table.add_row(name.replace("_", " "), *(f"{row[when]:,}" for when in ("first", "settled", "last")), *words)
        console.print(table)
    for one in result["verdicts"]:
        console.print(
            f"{'met    ' if one['met'] else 'NOT MET'}  {one['name']}: {one['value']:g} (asked: {one['asked']})"
        )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", nargs="*", choices=list(PROGRAMS), default=list(PROGRAMS), help="none: no speed")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="programs at a time")
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count; one more comes before them")
    parser.add_argument("--memory", type=int, default=2000, help="programs while memory is watched; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="of the order of ways and kinds")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs/results/sandbox.json", help="the picture lies beside it"
    )
    args = parser.parse_args()

    console = Console(width=200) if not sys.stdout.isatty() else Console()
    if args.programs and not shutil.which("bwrap"):
        console.print("bubblewrap is not installed: that way is left out.")
    load = os.getloadavg()[0]
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, Progress(*columns, console=console) as bar:
        scratch = Path(folder).resolve() / "scratch"
        scratch.mkdir()
        task = make_task(scratch.parent / "task")
        records = await measure_speed(args, task, scratch, bar) if args.programs else []
        memory = await measure_memory(args, task, scratch, bar) if args.memory else None

    speed, fits = summarise_speed(records), summarise_memory(memory) if memory else None
    result = {
        "command": "python benchmarks/sandbox.py " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}",
        "load_before": round(load, 2),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("trl_mle", "numpy", "pandas", "scikit-learn", "scipy")}
        | {"bubblewrap": _bubblewrap_version()},
        "seed": args.seed,
        "verdicts": judge(speed, fits),
        "speed": speed,
        "memory": fits,
        "raw": {"speed": records, "memory": memory},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    draw(speed, memory, fits, args.out.with_suffix(".png"))
    show(result, console)
    console.print(f"written to {args.out}")


def _bubblewrap_version() -> str | None:
    if not shutil.which("bwrap"):
        return None
    return subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


if __name__ == "__main__":
    asyncio.run(main())
