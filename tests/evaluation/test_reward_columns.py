"""Names of reward functions, from what a run has logged."""

from __future__ import annotations

import json

import pandas as pd

from trl_mle.evaluation.reward_columns import reward_columns


def logged(*names):
    return {f"rewards/{name}/mean": 0.0 for name in names}


def test_names_come_from_the_newest_checkpoint_if_there_are_no_metrics(tmp_path):
    rollouts = pd.DataFrame({"a/b": [1.0, None], "text": ["x", "y"], "late": [None, None]}, dtype=object)
    rollouts["a/b"] = rollouts["a/b"].astype(float)
    assert reward_columns(tmp_path, rollouts) == {}
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"loss": 1}, logged("a/b", "text")]}))
    # Text under the name of a reward function is none.
    assert reward_columns(tmp_path, rollouts) == {"a/b": "a/b"}


def test_damaged_files_name_nothing(tmp_path):
    rollouts = pd.DataFrame({"a": [1.0]})
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(b'[1]\n\xff\n{"rewards/a/mean": 1}\n')
    assert reward_columns(tmp_path, rollouts) == {"a": "a"}
    metrics.unlink()
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1/trainer_state.json").write_text('{"log_history": 3')
    assert reward_columns(tmp_path, rollouts) == {}
