"""Budgets as text, and what they leave."""

from __future__ import annotations

import pytest

from trl_mle.errors import ConfigError
from trl_mle.solve.budget import Deadline, parse_budget


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("1h30m", 5400), ("90s", 90), ("0.5h", 1800), (" 2 min ", 120), ("1d", 86400)]
)
def test_durations_with_units(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["30", "", "m", "half an hour", "-5m", "0s", "60d", "1e99h", "nat", "30x", "\0s"])
def test_anything_else_names_the_value_and_the_fix(text):
    with pytest.raises(ConfigError, match=r"--budget.*such as `30m`"):
        parse_budget(text)


def test_a_deadline_does_not_go_below_zero():
    now = [10.0]
    deadline = Deadline(5.0, lambda: now[0])
    assert (deadline.left_s, deadline.elapsed_s) == (5.0, 0.0)
    now[0] = 99.0
    assert (deadline.left_s, deadline.elapsed_s) == (0.0, 89.0)
