"""Every pair of model family and feature treatment, for every kind of target, on tables that a test can afford."""

from __future__ import annotations

import ast
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trl_mle import ASTInstrumenter, Limits, extract_program
from trl_mle.demo import BUGS, build_completion, combinations, generate_completion
from trl_mle.demo.bugs import PLACES, Context
from trl_mle.demo.programs import Choice
from trl_mle.demo.scoring import CHECKS
from trl_mle.demo.table import KINDS, read_facts
from trl_mle.errors import TaskError
from trl_mle.instrumentation.marks import new_nonce
from trl_mle.tasks import load_task
from trl_mle.types import MILESTONES

ROWS, TEST_ROWS = 120, 40


def table(kind: str) -> tuple[pd.DataFrame, pd.Series]:
    """Features and target of one kind."""
    rng = np.random.default_rng(3)
    rows = ROWS + TEST_ROWS
    x = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b b", 'c"c'])
    signal = x["a"] - x["b b"]
    if kind == "mixed":  # categories, gaps and free text beside numbers
        x["colour"] = rng.choice(["red", "green", "blue"], rows)
        x["name"] = [f"row {row}" for row in range(rows)]
        x.loc[::7, "a"] = np.nan
        return x, np.exp(signal)
    if kind == "wide":
        return pd.DataFrame(rng.normal(size=(rows, 32))).add_prefix("p"), signal.gt(0).astype(int)
    if kind == "classes":
        return x, pd.Series(np.array(["low", "middle", "high"])[pd.qcut(signal, 3, labels=False)])
    words = ["".join(rng.choice(list("abcde" if row % 2 else "defgh"), 6)) for row in range(rows)]
    return pd.DataFrame({"word": words}), pd.Series(np.arange(rows) % 2).map({0: "x", 1: "y"})


def make_task(home: Path, kind: str, metric: str, direction: str):
    x, y = table(kind)
    data = x.assign(target_value=y)
    data.insert(0, "row", np.arange(len(data)))
    (home / "public").mkdir(parents=True)
    (home / "private").mkdir()
    train, test = data[:ROWS], data[ROWS:].reset_index(drop=True)
    classes = sorted(y.unique()) if kind in ("classes", "text") else []
    sample = test[["row"]].assign(**({str(name): 0.5 for name in classes} or {"target_value": 0.5}))
    train.to_csv(home / "public/train.csv", index=False)
    test.drop(columns="target_value").to_csv(home / "public/test.csv", index=False)
    sample.to_csv(home / "public/sample_submission.csv", index=False)
    split = np.where(np.arange(len(test)) % 3 == 0, "private", "public")
    test[["row", "target_value"]].assign(split=split).to_csv(home / "private/answers.csv", index=False)
    (home / "description.md").write_text("Predict the target.\n")
    (home / "task.yaml").write_text(
        f"id: {kind}\ntitle: A small table\nmetric: {metric}\ndirection: {direction}\nid_column: row\n"
        "target_column: target_value\ntime_limit_s: 60\n"
    )
    return load_task(str(home))


TASKS = [
    ("mixed", "rmsle", "minimize"),
    ("wide", "roc_auc", "maximize"),
    ("classes", "log_loss", "minimize"),
    ("text", "log_loss", "minimize"),
]


@pytest.fixture(params=TASKS, ids=lambda case: f"{case[0]}-{case[1]}")
def task(request, tmp_path):
    return make_task(tmp_path / "task", *request.param)


def choices(task, **changes):
    regression = read_facts(task).kind == "regression"
    for family, treatment in combinations(task):
        for setting in family.settings[regression]:
            yield Choice(family, treatment, setting, refit=True, **changes)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_every_pair_of_family_and_treatment_is_valid(task, sandbox):
    await assert_valid(task, sandbox, pairs(task))


@pytest.mark.asyncio(loop_scope="module")
async def test_every_family_and_every_treatment_is_valid(task, sandbox):
    """Of each family one treatment, a different one each time."""
    every, chosen = pairs(task), {}
    for turn, family in enumerate(dict.fromkeys(family for family, _ in every)):
        own = [pair for pair in every if pair[0] == family]
        chosen[own[turn % len(own)]] = every[own[turn % len(own)]]
    assert {treatment for _, treatment in chosen} == {treatment for _, treatment in every}
    await assert_valid(task, sandbox, chosen)


def pairs(task):
    """Names of family and treatment -> the first choice of both."""
    seen = {}
    for choice in choices(task):
        seen.setdefault((choice.family.name, choice.treatment.name), choice)
    assert len(seen) >= 8 * 2
    return seen


async def assert_valid(task, sandbox, chosen):
    for pair, choice in chosen.items():
        program = extract_program(build_completion(task, choice)).code
        # Fewer rounds and members: this test is about the programs of a family, not about their duration.
        for many, few in (
            ("max_iter=300", "max_iter=5"),
            ("max_iter=60", "max_iter=5"),
            ("max_iter=150", "max_iter=5"),
        ):
            program = program.replace(many, few)
        program = program.replace("[8, 16, 31]", "[8]").replace("(100, random_state", "(5, random_state")
        execution = await sandbox.run(program, task, Limits(wall_s=240))
        assert execution.status == "ok", (pair, execution.stderr)
        grade = task.grade(execution.submission)
        assert grade.valid, (pair, grade.reason)


def test_every_program_reaches_every_milestone(task):
    for choice in choices(task):
        program = extract_program(build_completion(task, choice))
        assert ASTInstrumenter().instrument(program, new_nonce()).inserted == MILESTONES, program.code


def test_every_mistake_leaves_a_program_that_parses_and_differs(task):
    facts = read_facts(task)
    for choice in choices(task):
        for bug in BUGS:
            if bug.applies(Context(task, facts, choice.family)):
                wrong = Choice(choice.family, choice.treatment, choice.setting, choice.refit, (bug,))
                code = extract_program(build_completion(task, wrong)).code
                ast.parse(code)
                assert code != extract_program(build_completion(task, choice)).code, bug.name


def test_mistakes_of_different_places_can_meet(task):
    facts = read_facts(task)
    for choice in choices(task):
        context = Context(task, facts, choice.family)
        for first in (0, -1):
            fitting = [[bug for bug in BUGS if bug.place == place and bug.applies(context)] for place in PLACES]
            together = tuple(bugs[first] for bugs in fitting if bugs)
            code = extract_program(
                build_completion(task, Choice(choice.family, choice.treatment, choice.setting, True, together))
            ).code
            ast.parse(code)


def test_programs_are_short(task):
    for seed in range(200):
        assert len(generate_completion(task, random.Random(seed)).splitlines()) <= 60


def test_every_metric_has_a_check():
    import sklearn.metrics

    assert KINDS.keys() == CHECKS.keys()
    for check in CHECKS.values():
        assert callable(getattr(sklearn.metrics, check.function))
        sklearn.metrics.get_scorer(check.scoring)


def test_a_table_without_features_and_a_missing_file_are_named(tmp_path):
    task = make_task(tmp_path / "task", "classes", "log_loss", "minimize")
    for name in ("train", "test"):
        path = task.public_dir / f"{name}.csv"
        data = pd.read_csv(path)
        data[[column for column in data if column in ("row", "target_value")]].to_csv(path, index=False)
    with pytest.raises(TaskError, match="share no column"):
        generate_completion(task, random.Random(0))
    (task.public_dir / "test.csv").unlink()
    with pytest.raises(TaskError, match=r"test\.csv"):
        generate_completion(task, random.Random(0))
