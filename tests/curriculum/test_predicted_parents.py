"""The strategy `predicted`: what was learned from batches is what the store says, and parents near one half are preferred."""

from __future__ import annotations

import random

import pytest

from tests.support.improvement_runs import Simulation
from tests.support.tasks import toy_task
from trl_mle.curriculum.predicted_parents import PredictedParents
from trl_mle.experience import ExperienceStore
from trl_mle.experience.success_predictor import Candidate
from trl_mle.types import Outcome, Program


def test_a_predictor_that_has_seen_the_batches_equals_one_made_from_the_store(tmp_path):
    run = Simulation(tmp_path, parent_strategy="predicted", debug_fraction=0.25)
    run.run(8)
    seen, made = run.prompts._predicted, PredictedParents(run.store)
    candidates = {Candidate("toy", e.prompt_kind, e.parent_id) for e in run.store}
    assert {candidate.prompt_kind for candidate in candidates} == {"scratch", "improve", "debug"}
    for candidate in candidates:
        assert seen.probability(candidate) == pytest.approx(made.probability(candidate), abs=1e-12)


def test_a_parent_whose_children_succeed_half_of_the_time_is_preferred(tmp_path):
    task = toy_task(tmp_path)
    with ExperienceStore(tmp_path / "store.sqlite") as store:

        def add(number, reward, **more):
            program = Program("", f"x = {number}\n")
            return store.add(
                Outcome("toy", "valid", reward, 1.0, program=program, reward_parts={"score": reward}), **more
            )

        parents = [add(number, 0.5) for number in range(3)]
        for place, parent in enumerate(parents):
            for child in range(24):
                # None of the first one's children is better, half of the second's, all of the third's.
                better = (place == 1 and child % 2) or place == 2
                add(0, 0.6 if better else 0.4, parent=parent, prompt_kind="improve")
        predicted = PredictedParents(store)
        drawn = [predicted.choose(store, task, random.Random(seed)) for seed in range(40)]
    counts = [sum(parent.id == id_ for parent in drawn) for id_ in parents]
    assert counts[1] > 2 * max(counts[0], counts[2]), counts


def test_an_empty_store_has_no_parent(tmp_path):
    with ExperienceStore(tmp_path / "store.sqlite") as store:
        assert PredictedParents(store).choose(store, toy_task(tmp_path), random.Random(0)) is None
