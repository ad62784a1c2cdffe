"""One process's error ends both: none waits in a collective for one that has stopped."""

from __future__ import annotations

import json

import pytest

from tests.support.failing_process import SCENARIOS

COLUMN = "-1.0 of completion 0 (process 1) is not a number of seconds"
ENDS = {
    "sync_reward": ("RuntimeError", "no rewards today"),
    "async_reward": ("RuntimeError", "no rewards today"),
    "short": ("ValueError", "returned 3 rewards, but 4 were expected"),
    "column": ("DurationError", COLUMN),
    "sandbox": ("SandboxUnavailableError", "no room for programs"),
    "rollouts": ("NotADirectoryError", "/dev/null/rollouts"),
    "overlapped_reward": ("RuntimeError", "no rewards today"),
    "overlapped_column": ("DurationError", COLUMN),
    "overlapped_sandbox": ("SandboxUnavailableError", "no room for programs"),
}


@pytest.fixture(scope="module")
def ends(two_processes):
    folder = two_processes.folder / "failing_process"
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_both_processes_end_with_the_error(ends, scenario):
    of_both = [end[scenario] for end in ends]
    if scenario == "rollouts":
        of_both.reverse()  # the first process writes them
    (first, first_message, first_s), (second, second_message, second_s) = of_both
    error, message = ENDS[scenario]
    assert second == error
    assert message in second_message
    assert message in first_message
    # A column is checked by all; other errors are found by one process, which reports them to the other.
    assert first == (error if error == "DurationError" else "ProcessError")
    assert max(first_s, second_s) < 240  # a collective waits for half an hour
