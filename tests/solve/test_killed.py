"""A search that is killed at any moment leaves whole files, and the next session goes on."""

from __future__ import annotations

import random
import subprocess
import sys

import pandas as pd
import pytest

from tests.support.tasks import toy_task


@pytest.mark.slow
def test_killed_and_resumed(tmp_path):
    task, out = toy_task(tmp_path), tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-m", "tests.support.solve_process", str(task.folder), str(out)]
    rng, seen = random.Random(0), 0
    for _ in range(4):
        with subprocess.Popen([*command, "100000"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(2, 12)):
                line = process.stdout.readline()
                assert line.strip().isdigit(), line
            newest = int(line)
            process.kill()
        assert newest > seen  # later sessions add to earlier ones
        seen = newest
        submission = pd.read_csv(out / "submission.csv")
        assert len(submission) == 40 and task.grade(out / "submission.csv").valid
        assert (out / "solution.py").read_text().startswith("offset = ")
    done = subprocess.run([*command, str(seen)], capture_output=True, text=True, check=True)
    name, best, attempts = done.stdout.split()[-3:]
    assert name == "best" and int(attempts) >= seen and int(best) >= seen - 12
    test = pd.read_csv(task.test_path)
    offset = float((out / "solution.py").read_text().split()[-1])
    written = pd.read_csv(out / "submission.csv")["y"]
    assert (written - (2 * test["a"] - test["b"] + offset)).abs().max() < 1e-9  # both files are of one program
    assert not [path.name for path in out.iterdir() if path.name.endswith(".part")]
