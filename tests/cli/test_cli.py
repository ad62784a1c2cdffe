"""The command `trl-mle`, as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.tasks import toy_task
from trl_mle import __version__
from trl_mle.cli import main as cli
from trl_mle.errors import UserError
from trl_mle.sandboxes import self_test
from trl_mle.sandboxes.self_test import SelfTestResult
from trl_mle.scripts.user_errors import user_errors
from trl_mle.types import Execution


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["trl-mle", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code, *capsys.readouterr()


def test_validate_shows_both_programs(monkeypatch, capsys, tmp_path):
    copy = 'import pandas as pd\npd.read_csv("input/sample_submission.csv").to_csv("submission.csv", index=False)\n'
    better = copy.replace("sample_submission", "test").replace(
        ").to_csv", ").eval('y = 2 * a - b')[['id', 'y']].to_csv"
    )
    task = toy_task(tmp_path, baseline=copy, reference=better)
    code, out, _ = run(monkeypatch, capsys, "tasks", "validate", task.folder)
    assert code == 0
    assert "baseline" in out
    assert "reference" in out


def test_validate_names_the_program_that_fails(monkeypatch, capsys, tmp_path):
    task = toy_task(tmp_path, baseline="raise SystemExit(3)", reference="raise SystemExit(3)")
    code, _, err = run(monkeypatch, capsys, "tasks", "validate", task.folder)
    assert code == 2
    assert "Task toy: its baseline program ended with status 'error'" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "nowhere"], "No rollouts in nowhere"),
        (["tasks", "show", "builtin:nothing"], "builtin:nothing"),
        (["tasks", "validate", "builtin:diabetes", "--isolation", "some"], "'some'"),
    ],
)
def test_user_errors_have_no_traceback(monkeypatch, capsys, arguments, words):
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert words in err
    assert "Traceback" not in err


def test_help_lists_the_commands():
    result = CliRunner().invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    assert "report" in result.output
    assert "tasks" in result.output


def test_the_version_is_shown():
    result = CliRunner().invoke(cli.app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"trl_mle {__version__}\n")


def test_only_while_parsing_is_every_value_error_the_users(capsys):
    with pytest.raises(ValueError, match="a bug"), user_errors():
        raise ValueError("a bug")
    with pytest.raises(SystemExit), user_errors(parsing=True):
        raise ValueError("a wrong value")
    with pytest.raises(SystemExit), user_errors():
        raise UserError("a wrong task")
    assert capsys.readouterr().err == "error: a wrong value\nerror: a wrong task\n"


def test_what_an_error_quotes_cannot_write_over_the_terminal(capsys):
    with pytest.raises(SystemExit), user_errors():
        raise UserError("no task 'a\x1b[2Jb':\n  choose\a another")
    assert capsys.readouterr().err == "error: no task 'ab':\n  choose another\n"


@pytest.mark.slow
def test_doctor_tries_the_layers_out(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "doctor", "--workers", "1")
    assert code == 0
    for words in (
        "landlock",
        "seccomp",
        "transformers",
        "answers",
        "cannot be read by four paths",
        "1 worker(s) start in",
    ):
        assert words in out
    assert "NO" not in out.split("self test")[1]


def test_doctor_names_a_hole(monkeypatch, capsys):
    async def open_wide(sandbox, task):
        return SelfTestResult("answers", False, "read")

    async def passes(sandbox, task):
        return SelfTestResult("other", True, "refused")

    monkeypatch.setattr(self_test, "_check_answers", open_wide)
    # The test before this one runs the others.
    for name in ("network", "processes", "time", "memory", "speed"):
        monkeypatch.setattr(self_test, f"_check_{name}", passes)
    code, out, _ = run(monkeypatch, capsys, "doctor", "--workers", "1")
    assert code == 1
    assert "A program got further than it may: answers." in out


def test_doctor_says_why_nothing_runs(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "doctor", "--workers", "1", "--python", "/no/such/python")
    assert code == 3
    assert "/no/such/python" in out


@pytest.mark.asyncio
async def test_the_self_test_finds_holes_where_there_are_some(tmp_path):
    """The programs of the self test, run without any sandbox, get at what they try."""

    class Unconfined:
        async def run(self, code, task, limits=None):
            (tmp_path / "input").symlink_to(task.public_dir) if not (tmp_path / "input").exists() else None
            done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
            return Execution("ok", 0, 0.0, 0.0, 0, done.stdout, done.stderr)

    with tempfile.TemporaryDirectory() as folder:
        task = self_test._task(Path(folder))
        answers = await self_test._check_answers(Unconfined(), task)
        network = await self_test._check_network(Unconfined(), task)
        processes = await self_test._check_processes(Unconfined(), task)
    for number in re.findall(r"\d+", processes.message):
        os.kill(int(number), signal.SIGKILL)
    assert [result.passed for result in (answers, network, processes)] == [False, False, False]
