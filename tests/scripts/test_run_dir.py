"""Files of a run: what an earlier, killed run left in them is passed over."""

from types import SimpleNamespace

import pytest
import yaml

from trl_mle.scripts.run_dir import RunRecorder

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


def test_the_configuration_keeps_texts(tmp_path):
    RunRecorder(tmp_path, {"mle": {"tasks": ["1e5", "010", "no"], "rate": 1e-5}}).on_train_begin(None, STATE, None)
    text = (tmp_path / "config.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text)["mle"] == {"tasks": ["1e5", "010", "no"], "rate": 1e-5}
    assert "'1e5'" in text, "YAML 1.2 takes it for a number"
