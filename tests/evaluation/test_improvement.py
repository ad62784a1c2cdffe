"""What self-improvement prompts did, from the rollouts of a run."""

from __future__ import annotations

import pandas as pd
import pytest

from trl_mle.evaluation.improvement import improvement


def rollouts(*rows):
    names = ("prompt_kind", "kind", "reward_score", "parent_score", "lineage_depth", "parent_id")
    return pd.DataFrame([dict(zip(names, row, strict=True)) for row in rows])


def test_children_of_a_run():
    found = improvement(
        rollouts(
            ("scratch", "valid", 0.1, None, 0, None),
            ("scratch", "failure", None, None, 0, None),
            ("improve", "valid", 0.6, 0.5, 1, 3),
            ("improve", "valid", 0.2, 0.5, 4, 9),
            ("improve", "failure", None, 0.5, 1, 3),
            ("improve", "fault", None, 0.5, 1, 3),
            (None, None, None, None, None, None),
        )
    )
    assert found.share == 0.6
    assert found.better_share == pytest.approx(1 / 3)
    assert found.gain == pytest.approx(-0.1)
    assert found.deepest == 4
    assert found.sentence() == (
        "Self-improvement: 60% of the completions were shown an earlier solution, 33% of the children of a valid one are "
        "better than it (the valid children by -0.100 on average). Longest lineage: 4."
    )


def test_debug_prompts_alone():
    found = improvement(rollouts(("debug", "valid", 0.6, None, 1, 3)))
    assert (found.share, found.better_share, found.gain) == (1.0, None, None)
    assert found.sentence() == (
        "Self-improvement: 100% of the completions were shown an earlier solution. Longest lineage: 1."
    )


def test_runs_without_self_improvement():
    assert improvement(rollouts(("scratch", "valid", 0.1, None, 0, None))) is None
    assert improvement(pd.DataFrame({"kind": ["valid"]})) is None
