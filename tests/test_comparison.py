"""Whether a child is better than its parent is decided once: metrics, curriculum, store, predictor and `gain` agree."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.comparison import is_better, prompt_kind_of, score_of, succeeded
from trl_mle.curriculum.lineage import children, compared
from trl_mle.curriculum.task_curriculum import TaskCurriculum
from trl_mle.experience import ExperienceStore
from trl_mle.experience.success_predictor import observations_of
from trl_mle.rewards.gain_part import gain_of
from trl_mle.types import Outcome, Program


@pytest.mark.parametrize(
    ("kind", "score", "parent", "better", "success"),
    [
        ("valid", 0.5, 0.4, True, True),
        ("valid", 0.5, 0.5, False, False),  # a copy
        ("valid", -1.0, None, None, True),  # from scratch, or of a parent that failed
        ("valid", 0.5, math.nan, None, True),
        ("valid", None, 0.5, False, False),
        ("valid", math.nan, 0.5, False, False),
        ("failure", None, 0.5, False, False),
        ("timeout", None, None, None, False),
        ("fault", None, 0.5, None, None),
        (None, None, 0.5, None, None),  # lost before it was scored
        (math.nan, 0.5, 0.4, None, None),
    ],
)
def test_what_is_better_and_what_is_a_success(kind, score, parent, better, success):
    assert is_better(kind, score, parent) is better
    assert succeeded(kind, score, parent) is success


def test_a_prompt_of_unknown_kind_is_one_to_improve_if_it_has_a_parents_score():
    assert [prompt_kind_of(None, None), prompt_kind_of(math.nan, 0.5), prompt_kind_of("debug", None)] == [
        "scratch",
        "improve",
        "debug",
    ]


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["valid", "valid", "failure", "timeout", "fault"]),
        st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]),
        st.integers(0, 3),  # program: some are copies
        st.none() | st.integers(0, 9),  # place of the parent
        st.booleans(),  # whether the row names its kind of prompt
    ),
    max_size=10,
)


@settings(max_examples=15, deadline=None)
@given(ROWS)
def test_all_that_compare_children_with_parents_agree(rows):
    outcomes, parents, kinds = [], [], []
    for place, (kind, score, program, parent, named) in enumerate(rows):
        reward = score if kind == "valid" else None if kind == "fault" else -9.5
        parts = {"score": score} if kind == "valid" else {}
        code = Program("", f"print({program})")
        outcomes.append(Outcome("toy", kind, reward, 1.0, program=code, reward_parts=parts))
        parents.append(parent if parent is not None and parent < place else None)
        valid_parent = parents[-1] is not None and outcomes[parents[-1]].kind == "valid"
        kinds.append(("scratch" if parents[-1] is None else "improve" if valid_parent else "debug") if named else None)
    scores = [None if parent is None else score_of(outcomes[parent]) for parent in parents]
    better = [is_better(o.kind, score_of(o), score) for o, score in zip(outcomes, scores, strict=True)]
    successes = [succeeded(o.kind, score_of(o), score) for o, score in zip(outcomes, scores, strict=True)]

    compared_with = [answer for answer in better if answer is not None]
    columns = {
        "task_id": ["toy"] * len(rows),
        "kind": [outcome.kind for outcome in outcomes],
        "reward_score": [score_of(outcome) for outcome in outcomes],
        "prompt_kind": kinds,
        "parent_score": scores,
    }
    share, _ = compared(children(columns))
    assert share == (pytest.approx(sum(compared_with) / len(compared_with)) if compared_with else None)

    curriculum = TaskCurriculum({"toy": SimpleNamespace(id="toy")})
    said = [success for success in successes if success is not None]
    assert [result.is_success for _, _, result in curriculum._results(columns)] == said

    with tempfile.TemporaryDirectory() as folder, ExperienceStore(Path(folder) / "store.sqlite") as store:
        ids: list[int] = []
        for outcome, parent in zip(outcomes, parents, strict=True):
            ids.append(store.add(outcome, prompt_kind="scratch", parent=None if parent is None else ids[parent]))
        counted = store.tasks()
        assert [success for _, success in observations_of(store)] == successes
    if counted:
        assert (counted[0].children, counted[0].children_better) == (len(compared_with), sum(compared_with))

    for outcome, score, answer in zip(outcomes, scores, better, strict=True):
        if answer is not None and outcome.kind == "valid":
            assert (gain_of(outcome, score) > 0) is answer
