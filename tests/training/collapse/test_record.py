"""A run that is killed between a rollback and its next checkpoint resumes as one that has gone back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import torch
from transformers import TrainerCallback

from tests.training.collapse.test_watch import breaking_run
from trl_mle.errors import ConfigError
from trl_mle.scripts.checkpoints import resume_from
from trl_mle.training.collapse import record, rollback
from trl_mle.training.collapse.record import RECORD, RollbackRecord

CONSTANT = {"lr_scheduler_type": "constant", "max_steps": 9}


class Killed(BaseException):
    """Ends a run as a kill does: nothing in this package catches it."""


class KilledWhenGoneBack(TrainerCallback):
    """Ends the process when training begins for the second time."""

    def __init__(self, end):
        self.end, self.begun = end, 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.begun += 1
        if self.begun == 2:
            self.end()


def end_here(*args, **kwargs):
    raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody killed."""
    return breaking_run(tmp_path_factory.mktemp("whole"), **CONSTANT)


def assert_resumes_as(whole, folder):
    expected, rates = whole
    resumed, again = breaking_run(folder, resume=True, **CONSTANT)
    assert resumed._collapse.rollbacks == 1
    assert again == rates[-len(again) :] and all(rate == pytest.approx(3e-3) for _, rate in again)
    theirs = expected.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in resumed.model.state_dict().items())


def test_a_kill_after_a_rollback(whole, tmp_path):
    with pytest.raises(Killed):
        breaking_run(tmp_path, callbacks=[KilledWhenGoneBack(end_here)], **CONSTANT)
    assert_resumes_as(whole, tmp_path)


def test_a_kill_while_later_checkpoints_are_renamed(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(rollback, "move_aside", end_here)
        breaking_run(tmp_path, **CONSTANT)
    # The newest checkpoint is that of the broken policy. Neither `true` nor its name resumes from it.
    newest = max(rollback.checkpoints(tmp_path), key=rollback.step_of)
    assert newest.name in record.read(tmp_path).to_rename
    args = type("Args", (), {"output_dir": str(tmp_path), "resume_from_checkpoint": "true", "process_index": 0})
    assert resume_from(args) == str(tmp_path / "checkpoint-4")
    args.resume_from_checkpoint = str(newest)
    with pytest.raises(ConfigError, match="of a policy that has collapsed"):
        resume_from(args)
    assert_resumes_as(whole, tmp_path)
    assert (
        not newest.exists() or newest.stat().st_mtime > (tmp_path / f"_collapsed-{newest.name[11:]}").stat().st_mtime
    )


@pytest.mark.slow
def test_a_real_kill(whole, tmp_path):
    program = (
        "import os, signal, sys; from tests.training.collapse import test_record as t;"
        "t.breaking_run(t.Path(sys.argv[1]), callbacks=[t.KilledWhenGoneBack(lambda: os.kill(os.getpid(), signal.SIGKILL))],"
        "**t.CONSTANT)"
    ).replace("t.Path", "__import__('pathlib').Path")
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert_resumes_as(whole, tmp_path)


def test_a_new_run_in_the_same_folder_knows_of_no_rollback(tmp_path):
    record.write(tmp_path, RollbackRecord(2, 1, 0.3))
    breaking_run(tmp_path, heals=0, max_steps=2)
    assert not (tmp_path / RECORD).exists()
    resumed, rates = breaking_run(tmp_path, heals=0, max_steps=3, resume=True, lr_scheduler_type="constant")
    assert resumed._collapse.rollbacks == 0
    assert rates == [(3, 1e-2)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"step": 2}', b"\xff", b'{"step": "2", "rollbacks": 1}'])
def test_a_damaged_record_is_logged_and_counts_as_none(tmp_path, caplog, content):
    (tmp_path / RECORD).write_bytes(content)
    assert record.read(tmp_path) is None
    assert "cannot be read" in caplog.text


def test_a_record_is_written_whole_and_names_no_paths(tmp_path):
    assert record.read(tmp_path) is None
    written = RollbackRecord(4, 2, 0.09, ["checkpoint-6"])
    record.write(tmp_path, written)
    assert record.read(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]
    content = {"step": 4, "rollbacks": 2, "lr_scale": 0.09, "to_rename": ["../other", "/etc", "checkpoint-8"]}
    (tmp_path / RECORD).write_text(json.dumps(content))
    assert record.read(tmp_path).to_rename == ["checkpoint-8"]
