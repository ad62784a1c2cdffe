"""The HTML report of a run with 20,000 rollouts: size of the file, seconds to write it, and to open and search it in Chromium.

    python benchmarks/html_report.py [--rollouts 20000] [--chromium /usr/bin/chromium]

The programs are those that a language model of 1.5 B parameters wrote (`tests/data/corpus/qwen.jsonl`). Each is changed at random
in its numbers, names and lines, so that all of them differ, as those of a policy at temperature 1 do. Output is random numbers and
tracebacks. Opening needs the package `playwright` and a Chromium. Printed, and written to `docs/results/html_report.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import pandas as pd
from checkout import ROOT

from trl_mle.outcomes import SCHEMA_VERSION, Column, RunColumn
from trl_mle.reports.html import write_html
from trl_mle.types import MILESTONES

BATCH = 256
ERRORS = (
    "KeyError: 'target'",
    "ValueError: could not convert string to float: 'a'",
    "NameError: name 'X' is not defined",
)
NAME = re.compile(r"\b(?:X|y|df|train|test|model|clf|preds?)\w*\b")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=20_000)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder that keeps the run and its report")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        characters = write_rollouts(folder, arguments.rollouts)
        start = time.perf_counter()
        path = write_html([folder], folder / "report.html")
        result = {
            "rollouts": arguments.rollouts,
            "characters_of_programs_mean": round(characters / arguments.rollouts),
            "seconds_to_write": round(time.perf_counter() - start, 1),
            "megabytes": round(path.stat().st_size / 1e6, 1),
            **in_browser(path, arguments.chromium, arguments.repeats),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "load_average": round(os.getloadavg()[0], 1),
            "versions": {"pandas": version("pandas")},
        }
    print(json.dumps(result, indent=2))
    (ROOT / "docs/results/html_report.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def write_rollouts(folder: Path, count: int) -> int:
    """Write `count` rollouts with seed 0, and return the characters of their programs."""
    source = random.Random(0)
    lines = (ROOT / "tests/data/corpus/qwen.jsonl").read_text(encoding="utf-8").splitlines()
    programs = [json.loads(line)["code"] for line in lines]
    (folder / "rollouts").mkdir(parents=True, exist_ok=True)
    characters = 0
    for step, start in enumerate(range(0, count, BATCH)):
        rows = [rollout(source, programs) for _ in range(min(BATCH, count - start))]
        characters += sum(len(row[Column.PROGRAM]) for row in rows)
        frame = pd.DataFrame([{str(name): value for name, value in row.items()} for row in rows])
        frame.assign(**{RunColumn.STEP: step}).to_parquet(folder / f"rollouts/train_{step:06d}_00.parquet")
    return characters


def rollout(source: random.Random, programs: list[str]) -> dict[str, object]:
    program = changed(source, source.choice(programs))
    valid = source.random() < 0.6
    reward = source.uniform(-1, 1) if valid else -10 + 0.1 * source.randrange(7)
    output = "\n".join(f"fold {number}: {source.random():.6f}" for number in range(source.randrange(40)))
    error = f"Traceback (most recent call last):\n  line {source.randrange(80)}\n{source.choice(ERRORS)}\n"
    return {
        Column.SCHEMA: SCHEMA_VERSION,
        Column.TASK_ID: "builtin:computers",
        Column.KIND: "valid" if valid else "failure",
        Column.STATUS: "ok" if valid else "error",
        Column.REWARD: reward,
        Column.REWARD_SCORE: reward if valid else None,
        Column.PUBLIC_SCORE: 300 * source.random() if valid else None,
        Column.PRIVATE_SCORE: 300 * source.random() if valid else None,
        Column.DURATION: source.lognormvariate(0, 1.5),
        Column.PLAN: f"Fit a model with {source.randrange(1000)} trees on the numeric columns.",
        Column.PROGRAM: program,
        Column.INSTRUMENTED_PROGRAM: marked(source, program),
        Column.MILESTONES: [str(name) for name in MILESTONES if valid or source.random() < 0.5],
        Column.STDOUT: output,
        Column.STDERR: "" if valid else error,
        "advantage": source.gauss(0, 1),
        "duration_weight": source.random() * 2,
    }


def changed(source: random.Random, program: str) -> str:
    """`program` with other numbers, some other names, and some lines fewer."""
    names = {name: f"{name}_{source.randrange(100)}" for name in set(NAME.findall(program)) if source.random() < 0.3}
    text = NAME.sub(lambda match: names.get(match[0], match[0]), program)
    text = re.sub(r"\b\d+\b", lambda _: str(source.randrange(1000)), text)
    return "\n".join(line for line in text.splitlines() if source.random() > 0.03)


def marked(source: random.Random, program: str) -> str:
    lines = program.splitlines()
    for name in MILESTONES:
        key = f"{source.getrandbits(128):032x}"
        lines.insert(source.randrange(len(lines) + 1), f"print('[[trl_mle:{key}:{name}]]', flush=True)")
    return "\n".join(lines)


def in_browser(path: Path, chromium: str, repeats: int) -> dict[str, object]:
    """Median seconds until the page is ready, a search over all texts is done, the table is sorted, and a rollout is shown."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("No figures of a browser: `pip install playwright`.", file=sys.stderr)
        return {}
    seconds: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(repeats):
            page = browser.new_page(viewport={"width": 390, "height": 844})

            def clock(name: str, action, done: str, page=page) -> None:
                start = time.perf_counter()
                action()
                page.wait_for_selector(done, state="attached", timeout=120_000)
                seconds.setdefault(name, []).append(time.perf_counter() - start)

            clock("open_s", lambda page=page: page.goto(path.as_uri()), "html[data-ready]")
            clock("search_s", lambda page=page: page.fill("[name=words]", "ridge"), "#count[data-words=ridge]")
            order = "th[aria-sort=descending]:has-text('reward')"
            clock("sort_s", lambda page=page: page.select_option("[name=order]", "reward|down"), order)
            clock("detail_s", lambda page=page: page.click("#table tbody tr"), "dialog[open] pre.code")
            seconds.setdefault("memory_mb", []).append(page.evaluate("performance.memory.usedJSHeapSize") / 1e6)
            page.close()
        versions = browser.version
        browser.close()
    return {**{name: round(median(values), 2) for name, values in seconds.items()}, "chromium": versions}


if __name__ == "__main__":
    main()
