"""What several training tests compare with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from trl import GRPOConfig, GRPOTrainer

from tests.support.tiny import tiny_args
from tests.support.training_runs import letters, train


@pytest.fixture(scope="session")
def grpo_run(tmp_path_factory) -> Callable:
    """A run of plain `trl.GRPOTrainer` with the given settings, as `train` returns it. Each is made once."""
    runs: dict[tuple, tuple] = {}

    def run(**settings):
        key = tuple(sorted(settings.items()))
        if key not in runs:
            runs[key] = train(GRPOTrainer, tiny_args(tmp_path_factory.mktemp("grpo"), GRPOConfig, **settings), letters)
        return runs[key]

    return run
