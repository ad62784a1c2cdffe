"""Which parent is chosen: by the public score alone, whatever a policy floods the store with."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.experience import failed, valid
from trl_mle import ExperienceStore
from trl_mle.errors import ConfigError
from trl_mle.experience import STRATEGIES
from trl_mle.experience.selection.pool import by_rank, pick, weighted

RIDGE, FOREST, SVM = "Ridge(alpha={})", "RandomForestRegressor({})", "SVR(C={})"


def choices(store: ExperienceStore, strategy: str, n: int = 300, seed: int = 0) -> Counter[float]:
    """Reward of the chosen parent -> how often it was chosen."""
    rng = random.Random(seed)
    return Counter(store.choose_parent("toy", strategy, rng).outcome.reward for _ in range(n))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_only_valid_programs_of_the_task_are_chosen(store, strategy):
    store.add(valid(0.5))
    for number in range(5):
        store.add(failed(f"{number} / 0"))
        store.add(failed(f"wait({number})", kind="timeout"))
        store.add(failed(f"x{number}", kind="fault"))
        store.add(valid(0.9 + number, task_id="other"))
    assert choices(store, strategy, 20) == {0.5: 20}
    assert store.choose_parent("unseen", strategy) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_stores_and_random_numbers_give_equal_choices(tmp_path, strategy):
    sequences = []
    for name, before in (("a", 0), ("b", 7)):  # the second store has other ids
        with ExperienceStore(tmp_path / name) as store:
            for number in range(before):
                store.add(valid(number, task_id="other"))
            rng = random.Random(1)
            parents: list = []
            for _ in range(120):
                parent = store.choose_parent("toy", strategy, rng)
                parents.append(parent and parent.outcome.reward)
                store.add(
                    valid(rng.random()), prompt_kind="improve" if parent else "scratch", parent=parent and parent.id
                )
            sequences.append(parents)
    assert sequences[0] == sequences[1]
    assert len(set(sequences[0])) > 5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_private_score_has_no_part_in_it(tmp_path, strategy):
    rewards = random.Random(2)
    public = [(rewards.random(), rewards.random()) for _ in range(100)]
    found = []
    for name in ("as it is", "mirrored"):
        with ExperienceStore(tmp_path / name) as store:
            for reward, hidden in public:
                store.add(valid(reward, private=hidden if name == "as it is" else -hidden))
            found.append(choices(store, strategy, 50))
    assert found[0] == found[1]


def test_latest_follows_the_newest_program(store):
    for reward in (0.9, 0.1, 0.5):
        store.add(valid(reward))
        assert choices(store, "latest", 3) == {reward: 3}
    store.add(valid(0.7, code="print(0.1)"))
    assert choices(store, "latest", 3) == {0.5: 3}, "a copy is not new"


def test_uniform_chooses_every_program(store):
    for number in range(20):
        store.add(valid(number / 20))
    counts = choices(store, "uniform", 2000)
    assert len(counts) == 20
    assert max(counts.values()) < 3 * min(counts.values())


def test_score_weighted_prefers_the_better_half_at_any_scale(tmp_path):
    shares = []
    for scale in (1.0, 1e-6):
        with ExperienceStore(tmp_path / f"{scale}") as store:
            order = random.Random(0).sample(range(300), 300)
            for number in order:
                store.add(valid(number * scale))
            counts = choices(store, "score_weighted")
        shares.append(sum(n for reward, n in counts.items() if reward >= 268 * scale) / 300)
        assert min(counts) < 200 * scale, "others have a chance, too"
    assert shares[0] == shares[1]
    assert shares[0] > 0.7


@pytest.mark.parametrize("strategy", ["uniform", "score_weighted", "diverse", "learnability"])
def test_copies_of_a_program_do_not_crowd_the_others_out(store, strategy):
    for number in range(5):
        store.add(valid(0.5 - number / 100))
    before = choices(store, strategy)
    for number in range(200):
        store.add(valid(0.5, code=f"print(0.5)  # copy {number}\n\n"))
    assert choices(store, strategy) == before


def test_diverse_shows_a_family_of_few_programs_as_often_as_one_of_many(store):
    store.add(valid(0.5, FOREST.format(1)))
    for number in range(400):
        store.add(valid(0.6 + number / 1e4, RIDGE.format(number)))
    store.add(valid(0.4, SVM.format(1)))
    counts = choices(store, "diverse")
    assert counts[0.5] > 60
    assert counts[0.4] > 45
    assert choices(store, "uniform")[0.5] < 10


def test_diverse_looks_at_features_within_a_family(store):
    for number in range(200):
        store.add(valid(0.6 + number / 1e4, RIDGE.format(number)))
    store.add(valid(0.61951, "StandardScaler(); " + RIDGE.format(1)))
    counts = choices(store, "diverse")
    assert set(counts) <= {0.61951, 0.6199}, "of the same features, the best one"
    assert counts[0.61951] > 15


def test_classes_that_a_policy_makes_up_are_one_family(store):
    store.add(valid(0.5, FOREST.format(1)))
    for number in range(300):
        store.add(valid(0.6 + number / 1e4, f"class Model{number}: pass\nModel{number}()"))
    assert choices(store, "diverse")[0.5] > 60


def test_learnability_prefers_parents_that_are_improved_half_of_the_time(store):
    always, half, never = (store.add(valid(0.1 + number / 1000)) for number in range(3))
    rng = random.Random(0)
    for number in range(40):
        for parent, rate in ((always, 1.0), (half, 0.5), (never, 0.0)):
            child = valid(0.9) if rng.random() < rate else failed(f"{number}")
            store.add(replace(child), prompt_kind="improve", parent=parent)
    counts = choices(store, "learnability")
    assert counts[0.101] > 1.5 * counts[0.1]
    assert counts[0.101] > 1.5 * counts[0.102]


def test_learnability_forgets_what_was_long_ago(store):
    parent = store.add(valid(0.1))
    for better in [False] * 60 + [True] * 60:
        store.add(valid(0.9) if better else failed(), prompt_kind="improve", parent=parent)
    with store._database.read() as db:
        recent, better = db.execute(
            "SELECT recent_children, recent_better FROM candidates WHERE id = ?", (parent,)
        ).fetchone()
    assert better / recent > 0.9
    assert recent < 21


def test_failed_programs_are_chosen_for_repair(store):
    store.add(failed("old"))
    for number in range(64):
        store.add(failed(f"{number % 4} / 0  # {number}"))
    store.add(failed("slow()", kind="timeout"))
    store.add(valid(0.5))
    rng = random.Random(0)
    counts = Counter(store.choose_failed("toy", rng).outcome.program.code.split()[0] for _ in range(200))
    assert set(counts) == set("0123"), "the newest 64, copies once"
    assert max(counts.values()) < 2 * min(counts.values())


def test_an_unknown_strategy_is_named(store):
    with pytest.raises(ConfigError, match=r"strategy='best'.*latest, uniform, score_weighted, diverse, learnability"):
        store.choose_parent("toy", "best")


@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_pick_is_in_range(size, number):
    class Fixed:
        def random(self):
            return number

    assert 0 <= pick(size, Fixed()) < size
    assert weighted("abc", [0.0, 1.0, 0.0], Fixed()) == "b"


def test_ranks_are_weighted_by_temperature():
    rng = random.Random(0)
    counts = Counter(by_rank("abcde", rng, 0.25) for _ in range(20_000))
    assert counts["a"] / counts["b"] == pytest.approx(2.2255, rel=0.1)
    assert by_rank("a", rng) == "a"


def test_no_choice_looks_at_every_row(store):
    """A plan with a scan or a sort would take a time that grows with the store."""
    parent = store.add(valid(0.1))
    for number in range(200):
        store.add(valid(number, RIDGE.format(number)), prompt_kind="improve", parent=parent)
        store.add(failed(f"{number}"))
    asked: dict[str, None] = {}
    with store._database.read() as db:
        db.set_trace_callback(lambda statement: asked.setdefault(statement))
    for strategy in STRATEGIES:
        choices(store, strategy, 20)
    store.choose_failed("toy")
    store.best("toy", 5)
    assert store.position == 401
    store.add(valid(3.0), prompt_kind="improve", parent=parent)
    with store._database.read() as db:
        db.set_trace_callback(None)
        plans = {
            statement: " ".join(step[3] for step in db.execute(f"EXPLAIN QUERY PLAN {statement}"))
            for statement in asked
            if statement.startswith(("SELECT", "UPDATE", "INSERT"))
        }
    assert len(plans) > 20
    newest = {statement for statement in plans if statement.endswith("ORDER BY id DESC LIMIT 1")}
    assert {statement: plan for statement, plan in plans.items() if "SCAN" in plan or "TEMP" in plan}.keys() <= newest
