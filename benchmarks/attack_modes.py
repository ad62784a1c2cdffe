"""The attack suite in every mode of the local sandbox: what is held back, what is documented, and where no sandbox opens.

    python benchmarks/attack_modes.py

Runs `tests/sandboxes/attacks` with all modes of `trl_mle/sandboxes/modes.py`, and once more as an ordinary user (as root only).
Writes the counts to `docs/results/attack_modes.json` and prints them as a table in Markdown. The exit code is that of pytest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

from trl_mle.sandboxes.modes import MODES

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "docs/results/attack_modes.json"
USER_MODE = "ordinary user"
KINDS = ("held", "documented", "not askable", "failed")
"""An attack is not askable if the machine refuses it without the sandbox, too, so that a refusal shows nothing."""


def run_suite(junit: Path) -> int:
    """The whole suite, slow modes included."""
    options = ["-o", "addopts=", "-o", "junit_family=xunit1", "-p", "no:cacheprovider", f"--junitxml={junit}"]
    command = [sys.executable, "-m", "pytest", *options, "tests/sandboxes/attacks"]
    return subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode


def kind_of(case: ElementTree.Element) -> str:
    """What one test showed."""
    skipped = case.find("skipped")
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    if skipped is None:
        return "held"
    return "documented" if "documented: " in skipped.get("message", "") else "not askable"


def count(junit: Path) -> dict[str, Counter[str]]:
    """Number of attacks of each kind in each mode."""
    modes = {mode.name: Counter[str]() for mode in MODES if not mode.refused}
    for case in ElementTree.parse(junit).iter("testcase"):
        named = [word for word in re.findall(r"\w+", case.get("name", "").partition("[")[2]) if word in modes]
        if named:  # a test with a warm and a cold sandbox names two modes: it counts where the less common one is
            modes[max(named, key=list(modes).index)][kind_of(case)] += 1
        for found in case.iter("property"):
            if found.get("name") == "as an ordinary user":
                modes[USER_MODE] = Counter(json.loads(found.get("value", "{}")))
    return modes


def table(counts: dict[str, Counter[str]]) -> str:
    """The counts in Markdown, with the modes in which no sandbox opens."""
    lines = [f"| mode | {' | '.join(KINDS)} |", "|---|" + "---|" * len(KINDS)]
    lines += [f"| `{mode}` | {' | '.join(str(found[kind]) for kind in KINDS)} |" for mode, found in counts.items()]
    lines += [
        f"| `{mode.name}` | refused: the sandbox does not open |" + " |" * (len(KINDS) - 1)
        for mode in MODES
        if mode.refused
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the counts go")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "attacks.xml"
        status = run_suite(junit)
        counts = count(junit)
    machine = {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()}
    args.out.write_text(json.dumps({"machine": machine, "modes": counts}, indent=2) + "\n", encoding="utf-8")
    print(table(counts))
    return status


if __name__ == "__main__":
    sys.exit(main())
