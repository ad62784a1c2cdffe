"""TRL's own tests of `GRPOTrainer`, run with `DurationAwareTrainer` in its place, and with TRL's own trainer beside it.

    python benchmarks/trl_suite CHECKOUT [--variants none proportional overlap independent] [--output FILE] [--control FILE]

`CHECKOUT` is a checkout of TRL's repository, of which the tests alone are used: the trainer under test is built on the
installed TRL. If the two versions differ, a test may fail with both trainers; such a test says nothing about this package.
The exit status is 1 if a test fails with a trainer of this package alone.

Models and data sets of the hub are replaced by stand-ins that are made here (`stand_ins.py`), and numbers of tokens in the code
of the tests by those of the stand-ins. Tests that need a model without
a stand-in, a GPU or a package that is not installed are skipped, each with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[1] / "trl_mle"
VARIANTS = ("none", "proportional", "overlap", "independent")
TEST_FILE = "tests/test_grpo_trainer.py"
SECONDS_PER_TEST = 600


def set_up(folder: Path, checkout: Path) -> None:
    """Put TRL's tests, the stand-ins and a search path with this package alone in `folder`."""
    tests = checkout / "tests"
    if not (checkout / TEST_FILE).is_file():
        raise SystemExit(f"{checkout} has no {TEST_FILE}: it is no checkout of TRL.")
    (folder / "tests").mkdir()
    # Not TRL's package: the installed one is tested.
    for path in [*tests.glob("*.py")]:
        if not path.name.startswith("test_") or path.name == Path(TEST_FILE).name:
            (folder / "tests" / path.name).write_text(path.read_text())
    # Not the root of this project, whose tests are a package named `tests`, too.
    (folder / "path").mkdir()
    (folder / "path/trl_mle").symlink_to(PACKAGE)
    shutil.copy(HERE / "substitute.py", folder / "path")
    (folder / "pytest.ini").write_text("[pytest]\n")
    # A process of its own: the stand-ins' libraries read settings of the environment when they are imported.
    made = subprocess.run(
        [sys.executable, HERE / "stand_ins.py", folder, folder / TEST_FILE],
        env=_environment(folder),
        text=True,
        capture_output=True,
    )
    if made.returncode:
        raise SystemExit(f"The stand-ins could not be made.\n{made.stderr}")


def _environment(folder: Path) -> dict[str, str]:
    """Environment of a process without the hub; the caller's own search path comes last."""
    search = [folder / "path", *filter(None, [os.environ.get("PYTHONPATH")])]
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS"), "1")
    return {
        **os.environ,
        **offline,
        "HF_HOME": str(folder / "hub"),
        "PYTHONPATH": os.pathsep.join(map(str, search)),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        # As in the Makefile: large buffers stay with the process.
        "MALLOC_MMAP_THRESHOLD_": str(2**32),
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
    }


def run(folder: Path, variant: str, expression: str) -> dict[str, dict]:
    """The results of one trainer: name of the test -> outcome, reason, seconds."""
    results, log = folder / f"{variant}.jsonl", folder / f"{variant}.log"
    arguments = [
        "-q",
        "--tb=short",
        "--durations=15",
        "-p",
        "substitute",
        "-p",
        "no:cacheprovider",
        "--timeout",
        str(SECONDS_PER_TEST),
    ]
    arguments += [
        "--basetemp",
        str(folder / f"runs-{variant}"),
        *(["-k", expression] if expression else []),
        TEST_FILE,
    ]
    environment = {**_environment(folder), "TRL_SUITE_VARIANT": variant, "TRL_SUITE_RESULTS": str(results)}
    with open(log, "w") as file:
        subprocess.run(
            [sys.executable, "-m", "pytest", *arguments], cwd=folder, env=environment, stdout=file, stderr=file
        )
    if not results.is_file():
        raise SystemExit(f"No test of the variant {variant} ran.\n{log.read_text()[-4000:]}")
    kept: dict[str, dict] = {}
    for line in map(json.loads, results.read_text().splitlines()):
        # A test that fails again while it is taken down has failed once.
        if kept.get(line["test"], {}).get("outcome") != "failed":
            kept[line["test"]] = line
    return kept


def failing_alone(control: dict[str, dict], ours: dict[str, dict]) -> dict[str, str]:
    """Tests that do not fail with TRL's trainer, and fail with ours or were not reached: name -> reason."""
    return {
        test: ours[test]["reason"] if test in ours else "did not end"
        for test, line in control.items()
        if line["outcome"] != "failed" and ours.get(test, {"outcome": "failed"})["outcome"] == "failed"
    }


def failing_otherwise(control: dict[str, dict], ours: dict[str, dict]) -> dict[str, str]:
    """Tests that fail with both trainers, but for another reason with ours: name -> reason."""

    def reason(line: dict) -> str:
        return re.sub(r"'\w+' object", "object", line["reason"])

    return {
        test: line["reason"]
        for test, line in ours.items()
        if line["outcome"] == control.get(test, {}).get("outcome") == "failed"
        and reason(line) != reason(control[test])
    }


def table(results: dict[str, dict[str, dict]]) -> str:
    """Numbers of passed, failed, refused and skipped tests of each trainer, as Markdown."""
    rows = ["| trainer | passed | failed | refused | skipped | fails only here |", "|---|---|---|---|---|---|"]
    for variant, lines in results.items():
        counts = Counter(line["outcome"] for line in lines.values())
        alone = "" if variant == "trl" else str(len(failing_alone(results["trl"], lines)))
        numbers = [str(counts[outcome]) for outcome in ("passed", "failed", "refused", "skipped")]
        rows.append(f"| {' | '.join([variant, *numbers, alone])} |")
    return "\n".join(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="checkout of TRL's repository")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["none"], help="trainers besides TRL's own")
    parser.add_argument("--processes", type=int, default=2, help="trainers that are tested at a time")
    parser.add_argument("--output", type=Path, help="file for the result of every test, as JSON")
    parser.add_argument("--control", type=Path, help="output of an earlier run, whose results of TRL's trainer count")
    parser.add_argument("-k", default="", metavar="EXPRESSION", help="run these tests alone, as pytest's -k")
    arguments = parser.parse_args()
    versions = {name: metadata.version(name) for name in ("trl", "transformers", "torch", "peft")}
    version_file = arguments.checkout / "VERSION"
    tests_of = version_file.read_text().strip() if version_file.is_file() else "unknown"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        set_up(folder, arguments.checkout)
        results = {}
        if arguments.control:
            results["trl"] = json.loads(arguments.control.read_text())["results"]["trl"]
        variants = [name for name in ("trl", *dict.fromkeys(arguments.variants)) if name not in results]
        with ThreadPoolExecutor(arguments.processes) as executor:
            ended = executor.map(lambda variant: run(folder, variant, arguments.k), variants)
            results |= dict(zip(variants, ended, strict=True))
    print(
        f"Tests of TRL {tests_of}; installed: {', '.join(f'{name} {version}' for name, version in versions.items())}\n"
    )
    print(table(results))
    reasons = Counter(line["reason"] for line in results["trl"].values() if line["outcome"] == "skipped")
    print("\nSkipped:", *(f"{count:4d}  {reason}" for reason, count in reasons.most_common()), sep="\n")
    failed = {test: line["reason"] for test, line in results["trl"].items() if line["outcome"] == "failed"}
    print("\nFailed with TRL's own trainer, too:", *_lines(failed), sep="\n")
    status = 0
    for variant in list(results)[1:]:
        refused = Counter(line["reason"] for line in results[variant].values() if line["outcome"] == "refused")
        if refused:
            print(
                f"\nRefused by `{variant}`:",
                *(f"{count:4d}  {reason}" for reason, count in refused.most_common()),
                sep="\n",
            )
        alone = failing_alone(results["trl"], results[variant])
        print(f"\nFailed with `{variant}` alone:", *_lines(alone), sep="\n")
        print(f"\nFailed with `{variant}` for another reason:")
        print(*_lines(failing_otherwise(results["trl"], results[variant])), sep="\n")
        status = status or int(bool(alone))
    if arguments.output:
        whole = {"tests_of": tests_of, "python": platform.python_version(), **versions, "results": results}
        arguments.output.write_text(json.dumps(whole, indent=1) + "\n")
    return status


def _lines(tests: dict[str, str]) -> list[str]:
    return [f"  {test.split('::', 1)[-1]}: {reason}" for test, reason in tests.items()] or ["  none"]


if __name__ == "__main__":
    sys.exit(main())
