"""Predicted success of prompts, and the choice of those that teach most."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.experience import ExperienceStore
from trl_mle.experience.success_predictor import Candidate, SuccessPredictor, observations_of
from trl_mle.types import Outcome

SCRATCH = Candidate("toy")
CANDIDATES = st.builds(
    Candidate, st.sampled_from("ab"), st.sampled_from(["scratch", "improve"]), st.none() | st.integers(1, 5)
)
OBSERVATIONS = st.lists(st.tuples(CANDIDATES, st.sampled_from([True, False, None])), max_size=80)


def observed(observations, **settings):
    predictor = SuccessPredictor(**settings)
    predictor.observe_all(observations)
    return predictor


@given(observations=OBSERVATIONS, candidate=CANDIDATES)
def test_predictions_are_probabilities(observations, candidate):
    predictor = observed(observations)
    assert 0 < predictor.probability(candidate) < 1
    assert 0 < predictor.learnability(candidate) < 0.25


@given(observations=OBSERVATIONS, candidate=CANDIDATES)
def test_a_success_raises_the_probability_and_a_failure_lowers_it(observations, candidate):
    before = observed(observations).probability(candidate)
    assert observed([*observations, (candidate, True)]).probability(candidate) > before
    assert observed([*observations, (candidate, False)]).probability(candidate) < before
    assert observed([*observations, (candidate, None)]).probability(candidate) == before


@given(observations=OBSERVATIONS, candidates=st.lists(CANDIDATES, min_size=1, max_size=8, unique=True))
def test_a_rebuilt_predictor_chooses_alike(observations, candidates):
    once, again = (observed(observations).choose(candidates, 5, random.Random(1)) for _ in range(2))
    assert once == again


@given(observations=OBSERVATIONS, shift=st.integers(1, 10**9))
def test_absolute_ids_have_no_part_in_it(observations, shift):
    def moved(candidate):
        parent = candidate.parent_id
        return Candidate(candidate.task_id, candidate.prompt_kind, None if parent is None else parent + shift)

    shifted = observed([(moved(candidate), success) for candidate, success in observations])
    for candidate, _ in observations:
        assert shifted.probability(moved(candidate)) == observed(observations).probability(candidate)


@given(candidates=st.lists(CANDIDATES, min_size=1, max_size=6, unique=True), count=st.integers(0, 20))
def test_no_candidate_is_chosen_twice_before_all_are_chosen(candidates, count):
    chosen = SuccessPredictor().choose(candidates, count, random.Random(0))
    assert len(chosen) == count
    for start in range(0, count, len(candidates)):
        part = chosen[start : start + len(candidates)]
        assert len(set(part)) == len(part)


def test_success_near_one_half_is_chosen_most():
    rates = {Candidate("toy", "improve", number): rate for number, rate in enumerate([0.02, 0.5, 0.98])}
    rng = random.Random(0)
    predictor = observed([(each, rng.random() < rate) for _ in range(200) for each, rate in rates.items()])
    chosen = [predictor.choose(list(rates), 1, rng)[0].parent_id for _ in range(100)]
    assert chosen.count(1) > 90


def test_the_estimate_follows_the_policy():
    predictor = observed([(SCRATCH, False)] * 300 + [(SCRATCH, True)] * 300, half_life=30)
    assert predictor.probability(SCRATCH) > 0.95


def test_an_unknown_parent_borrows_from_its_task_and_kind_of_prompt():
    predictor = observed([(Candidate("toy", "improve", 1), True)] * 50)
    assert predictor.probability(Candidate("toy", "improve", 2)) > 0.9
    assert predictor.probability(Candidate("toy", "debug", 2)) == 0.5
    assert predictor.probability(Candidate("other", "improve", 2)) == 0.5


def test_memory_is_bounded():
    predictor = observed([(Candidate("toy", "improve", number), True) for number in range(50)], max_parents=10)
    assert len(predictor._parents) == 10


def test_the_outcomes_of_a_store_are_observations(tmp_path):
    with ExperienceStore(tmp_path / "store.sqlite") as store:
        parent = store.add(Outcome("toy", "valid", 0.5, 1.0))
        for kind, reward in (("valid", 0.6), ("valid", 0.4), ("failure", -10.0), ("fault", None)):
            store.add(Outcome("toy", kind, reward, 1.0), prompt_kind="improve", parent=parent)
        broken = store.add(Outcome("toy", "failure", -10.0, 1.0))
        store.add(Outcome("toy", "valid", -1.0, 1.0), prompt_kind="debug", parent=broken)
        found = list(observations_of(store))
    improve, debug = Candidate("toy", "improve", parent), Candidate("toy", "debug", broken)
    assert found == [
        (SCRATCH, True),
        (improve, True),
        (improve, False),
        (improve, False),
        (improve, None),
        (SCRATCH, False),
        (debug, True),
    ]


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="above 0"):
        SuccessPredictor(half_life=0)
    with pytest.raises(ValueError, match="no candidate"):
        SuccessPredictor().choose([], 1, random.Random(0))
