"""What several training tests compare with, and one launch of two processes for all tests that need two."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from trl import GRPOConfig, GRPOTrainer

from tests.support.launching import launch_well
from tests.support.tiny import tiny_args
from tests.support.training_runs import letters, train


@pytest.fixture(scope="session")
def grpo_run(tmp_path_factory) -> tuple:
    """A run of plain `trl.GRPOTrainer`, as `train` returns it."""
    return train(GRPOTrainer, tiny_args(tmp_path_factory.mktemp("grpo"), GRPOConfig), letters)


class TwoProcesses(NamedTuple):
    """What two processes have left."""

    folder: Path
    """One folder per module of `tests.support.two_processes`."""
    output: str


@pytest.fixture(scope="session")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> TwoProcesses:
    """Train with two processes (gloo, DDP), once for the tests of all files that `tests/conftest.py` puts into one group."""
    folder = tmp_path_factory.mktemp("two_processes")
    outputs = launch_well("tests.support.two_processes", str(folder), timeout_s=280, ACCELERATE_USE_CPU="true")
    return TwoProcesses(folder, "".join(outputs))
