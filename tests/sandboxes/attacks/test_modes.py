"""What holds in which mode: signals where the kernel holds none back, refusals, and the table that users read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.local_sandbox import make_task, until, worker_of
from trl_mle.cli.doctor import _gaps
from trl_mle.config import SandboxConfig
from trl_mle.errors import SandboxUnavailableError
from trl_mle.sandboxes import LocalSandbox
from trl_mle.sandboxes.isolation import from_worker
from trl_mle.sandboxes.modes import GAPS, MODES, modes_table

DOCS = Path(__file__).parents[3] / "docs" / "sandbox.md"
_MODES = {mode.name: mode for mode in MODES}

# Only signals that do no harm go to processes outside, should the filter fail.
_SIGNALS = """
import os, signal, subprocess
def attempt(name, action):
    try:
        action()
    except PermissionError:
        print(name, "refused")
    else:
        print(name, "sent")
parent = os.getppid()
attempt("parent", lambda: os.kill(parent, signal.SIGCONT))
attempt("group", lambda: os.kill(-os.getpgid(parent), signal.SIGCONT))
attempt("all", lambda: os.kill(-1, signal.SIGCONT))
attempt("descriptor", lambda: os.pidfd_open(parent))
attempt("existence", lambda: os.kill(parent, 0))
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
attempt("own group of a child", lambda: os.killpg(child.pid, signal.SIGTERM))
child.wait()
child = subprocess.Popen(["sleep", "60"])
attempt("own child", child.kill)
child.wait()
signal.signal(signal.SIGUSR1, lambda *_: None)
attempt("oneself", lambda: os.kill(os.getpid(), signal.SIGUSR1))
attempt("own group", lambda: os.kill(0, signal.SIGUSR1))
"""


async def test_seccomp_keeps_signals_from_the_parent_where_landlock_does_not(tmp_path):
    sandbox = LocalSandbox(SandboxConfig(workers=1, preload=()))
    sandbox._without = _MODES["no_signals"].without
    async with asyncio.timeout(60), sandbox:
        assert not next(layer for layer in sandbox.layers if layer.name == "signals").active
        execution = await sandbox.run(_SIGNALS, make_task(tmp_path / "task"))
    verdicts = dict(line.rsplit(" ", 1) for line in execution.stdout.splitlines())
    older = ("parent", "group", "all", "descriptor", "existence")
    own = ("own group of a child", "own child", "oneself", "own group")
    assert verdicts == {**dict.fromkeys(older, "refused"), **dict.fromkeys(own, "sent")}
    assert execution.status == "ok"


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.refused], ids=lambda mode: mode.name)
async def test_a_mode_that_shows_the_answers_is_refused(mode):
    sandbox = LocalSandbox(SandboxConfig(workers=1, preload=()))
    sandbox._without = mode.without
    with pytest.raises(SandboxUnavailableError, match="could read the answers"):
        async with asyncio.timeout(60), sandbox:
            pass


def test_docs_have_the_table_of_the_code():
    assert modes_table().strip() in DOCS.read_text(encoding="utf-8")


def test_the_full_mode_has_no_gap_and_every_gap_is_in_some_mode():
    assert _MODES["layers"].gaps == ()
    assert {gap.name for mode in MODES for gap in mode.gaps} == {gap.name for gap in GAPS}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_doctor_prints_what_a_machine_does_not_hold(mode, tmp_path):
    sandbox = LocalSandbox(SandboxConfig(workers=1), scratch_dir=tmp_path if mode.on_disk else None)
    sandbox.layers = from_worker(mode.layers)
    assert list(_gaps(sandbox).columns[0].cells) == [gap.name for gap in mode.gaps]


_FILL = {
    "files": "open('f', 'wb').write(bytes(2**20))",
    "chain": "for _ in range(300): os.mkdir('d'); os.chdir('d')",
    "closed": "os.mkdir('d'); os.mkdir('d/e'); os.chmod('d/e', 0); os.chmod('d', 0)",
    "no_text": "open(b'\\xff\\xfe', 'w').close(); os.mkdir(b'd\\xff')",
    "guessed": "[os.makedirs(f'.removed-{n}/x') for n in range(20)]",
    "fifo_and_link": "os.mkfifo('p'); os.symlink('/', 'l')",
    "own_folder_closed": "os.chmod('.', 0)",
}


@pytest.mark.parametrize("name", ["on_disk", "fall_back"])
async def test_folders_are_removed_while_the_worker_goes_on(tmp_path, name):
    """They take space on the machine's disk, which another program or the training would miss."""
    mode = _MODES[name]
    sandbox = LocalSandbox(SandboxConfig(workers=1, preload=()), scratch_dir=tmp_path)
    sandbox._without = mode.without
    task = make_task(tmp_path / "task")
    async with asyncio.timeout(60), sandbox:
        pid = worker_of(sandbox).pid
        for fill in _FILL.values():
            execution = await sandbox.run(f"import os\n{fill}", task)
            assert (execution.status, execution.stderr) == ("ok", "")
        folder = sandbox._slots[0].worker.folder
        await until(lambda: not [*folder.glob("run-*"), *folder.glob("removing-*")])
        assert worker_of(sandbox).pid == pid
