"""What several training tests compare with."""

from __future__ import annotations

import pytest
from trl import GRPOConfig, GRPOTrainer

from tests.support.tiny import tiny_args
from tests.support.training_runs import letters, train


@pytest.fixture(scope="session")
def grpo_run(tmp_path_factory) -> tuple:
    """A run of plain `trl.GRPOTrainer`, as `train` returns it."""
    return train(GRPOTrainer, tiny_args(tmp_path_factory.mktemp("grpo"), GRPOConfig), letters)
