"""Asynchronous training with two processes: the mean is over both, and an error of the first one reaches the second."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.support.launching import launch_well


# By default, `test_async_trainer.py` shows the weights on one process, and `test_trainer_two_processes.py` a mean over two.
@pytest.mark.slow
def test_weights_are_over_the_samples_of_both_processes(tmp_path):
    launch_well("tests.support.async_two_processes", tmp_path, ACCELERATE_USE_CPU="true")
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    files = sorted((tmp_path / "known/run/rollouts").glob("train_*.parquet"))
    table = pd.concat([pd.read_parquet(path) for path in files])
    assert list(table.groupby("step").size()) == [16, 16]  # 4 a process, 2 processes, 2 micro-batches
    for step, rows in table.groupby("step"):
        expected = rows["action_duration"] / rows["action_duration"].mean()
        assert list(rows["duration_weight"]) == pytest.approx(list(expected))
        seen = {value for result in results for at, values in result["seen"] if at == step for value in values}
        assert sorted(seen) == pytest.approx(sorted(rows["advantage"] * expected), abs=1e-6)
        assert all(any(at == step for at, _ in result["seen"]) for result in results)
    assert results[0]["sum"] == results[1]["sum"]
    for result in results:
        assert "1 of 16 samples have no durations" in result["error"]
