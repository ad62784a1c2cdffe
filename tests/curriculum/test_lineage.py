"""Children are compared with their parents by what was graded, and with nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.curriculum.lineage import children, lineage_metrics


def columns(*rows):
    """Each row: prompt kind, kind of the outcome, score, parent's score, depth."""
    names = ("prompt_kind", "kind", "reward_score", "parent_score", "lineage_depth")
    table = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    return {**table, "program": ["print(1)"] * len(rows), "parent_id": [None] * len(rows)}


def metrics(*rows):
    return lineage_metrics(children(columns(*rows)))


def test_children_are_compared_with_their_parents():
    found = metrics(
        ("scratch", "valid", 0.4, None, 0),
        ("scratch", "failure", None, None, 0),
        ("improve", "valid", 0.9, 0.5, 1),
        ("improve", "valid", 0.3, 0.5, 3),
        ("improve", "valid", 0.5, 0.5, 1),
        ("improve", "failure", None, 0.5, 1),
    )
    assert found["improve/prompt_share"] == pytest.approx(4 / 6)
    assert found["improve/better_share"] == 0.25, "a failure and a copy are not better"
    assert found["improve/gain_of_valid"] == pytest.approx((0.4 - 0.2 + 0.0) / 3)
    assert found["improve/valid_share/scratch"] == 0.5
    assert found["improve/valid_share/improve"] == 0.75
    assert found["improve/score/scratch"] == 0.4
    assert found["improve/lineage_depth_max"] == 3.0
    assert found["improve/lineage_depth_mean"] == 1.0


def test_faults_and_lost_completions_say_nothing_about_a_prompt():
    found = metrics(
        ("improve", "fault", None, 0.5, 1), (None, None, None, None, None), ("scratch", "valid", 0.1, None, 0)
    )
    assert found["improve/prompt_share"] == 0.0
    assert "improve/better_share" not in found


def test_a_debug_prompt_has_no_parent_to_be_better_than():
    found = metrics(("debug", "valid", 0.2, None, 1))
    assert found["improve/valid_share/debug"] == 1.0
    assert "improve/better_share" not in found


def test_a_batch_without_prompt_kinds_has_no_metrics():
    assert lineage_metrics(children({"kind": ["valid"], "step": [0]})) == {}
    assert metrics(("improve", "fault", None, 0.5, 1)) == {}


SCORE = st.none() | st.floats(-1, 1)
ROWS = st.tuples(
    st.sampled_from(["scratch", "improve", "debug"]),
    st.sampled_from(["valid", "failure", "timeout", "fault"]),
    st.floats(-1, 1),
    SCORE,
    st.integers(0, 9),
)


@given(st.lists(ROWS, max_size=8))
def test_shares_are_shares(rows):
    for name, value in metrics(*rows).items():
        assert 0 <= value <= 1 or not name.endswith("_share"), name
