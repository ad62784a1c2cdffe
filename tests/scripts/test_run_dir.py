"""Files of a run: what an earlier, killed run left in them is passed over."""

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from trl_mle.errors import ConfigError
from trl_mle.scripts.run_dir import RunRecorder, move_earlier_run

STATE = SimpleNamespace(is_world_process_zero=True, global_step=5)


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"st',
        b'{"step": 2}',
        b"\0\0\0\n",
        b"\xff\n",
        b"[]\n",
        b"\n\n",
        b'{"loss": 1}\n',
        b'{"step": "a"}\n',
        b"[" * 99_999 + b"\n",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_damaged_line_costs_itself_alone(tmp_path, damaged, first):
    metrics = tmp_path / "metrics.jsonl"
    line = b'{"step": 1}\n'
    metrics.write_bytes(damaged + b"\n" + line if first else line + damaged)
    RunRecorder(tmp_path, {}).on_train_begin(None, STATE, None)
    kept = metrics.read_bytes()
    assert kept in (line, b'{"step": 2}\n' + line)
    RunRecorder(tmp_path, {}).on_log(None, STATE, None, {"loss": 1.0})
    assert metrics.read_bytes() == kept + b'{"step": 5, "loss": 1.0}\n'


def test_a_folder_that_cannot_be_moved_aside_is_named(tmp_path, monkeypatch):
    def busy(self, target):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", busy)  # as that of a mount point
    move_earlier_run(tmp_path)
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(ConfigError, match=r"cannot be moved aside: .* busy. Choose a folder in it"):
        move_earlier_run(tmp_path)


def test_the_configuration_keeps_texts(tmp_path):
    RunRecorder(tmp_path, {"mle": {"tasks": ["1e5", "010", "no"], "rate": 1e-5}}).on_train_begin(None, STATE, None)
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["mle"] == {"tasks": ["1e5", "010", "no"], "rate": 1e-5}
    assert "'1e5'" in text, "YAML 1.2 takes it for a number"


def begin(folder, step, **settings):
    recorder = RunRecorder(folder, {"training": {"resume_from_checkpoint": step > 0, **settings}})
    recorder.on_train_begin(None, SimpleNamespace(is_world_process_zero=True, global_step=step), None)


def test_a_resumed_run_says_what_has_changed(tmp_path, capsys):
    begin(tmp_path, 0, learning_rate=1e-5, beta=None, tasks=["a"])
    begin(tmp_path, 4, learning_rate=1e-5, beta=None, tasks=["a"])
    assert capsys.readouterr().err == ""
    begin(tmp_path, 5, learning_rate=2e-5, beta=0.5, tasks=["a", "b" * 500], new=1)
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("Resumed at step 5 with other settings")
    assert told[1:4] == [
        "  training.beta: None -> 0.5",
        "  training.learning_rate: 1e-05 -> 2e-05",
        "  training.new: None -> 1",
    ]
    assert len(told[4]) < 200
    begin(tmp_path, 0, learning_rate=3e-5)
    assert capsys.readouterr().err == "", "a new run is none that is resumed"


@pytest.mark.parametrize("damaged", [b"training: {", b"\xff", b"[]", b"training: [1]", b""])
def test_a_damaged_configuration_ends_no_run(tmp_path, damaged):
    (tmp_path / "config.yaml").write_bytes(damaged)
    begin(tmp_path, 5, learning_rate=2e-5)
    assert "learning_rate: 2.0e-05" in (tmp_path / "config.yaml").read_text()
