"""Failed programs as demonstrations of what they did reach."""

import ast
import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.tasks import toy_task
from trl_mle import LocalSandbox, ProgramScorer
from trl_mle.experience.demonstrations import completion_of
from trl_mle.experience.hindsight import GOALS, goal_prompt, hindsight_demonstration, reached_goal
from trl_mle.programs import extract_program
from trl_mle.types import MILESTONES, Execution, Grade, Milestone, Outcome, Program

LOAD = "import pandas as pd\ntrain = pd.read_csv('input/train.csv')\n"
FEATURES = "X = train[['a', 'b']]\ny = train['y']\n"
TRAIN = "from sklearn.linear_model import Ridge\nmodel = Ridge()\nmodel.fit(X, y)\n"
BAD = "print(missing_name)\n"
REACHED = MILESTONES[:5]


def failed(code, milestones=REACHED, line=None, status="error", stderr=None, kind="failure"):
    where = code.count("\n") if line is None else line
    stderr = stderr or (
        f'Traceback (most recent call last):\n  File "main.py", line {where}, in <module>\n    x\nNameError: x\n'
    )
    execution = Execution(status, 1, 1.0, 1.0, 0, "", stderr, milestones=tuple(milestones))
    return Outcome("toy", kind, -9.5, 1.0, program=Program("a plan", code), execution=execution)


def test_the_failing_line_and_what_follows_are_cut():
    goal, cut = reached_goal(failed(LOAD + FEATURES + TRAIN + BAD + "print('more')\n", line=8))
    assert goal == Milestone.TRAINED_MODEL
    assert cut == Program("a plan", LOAD + FEATURES + TRAIN)


def test_no_more_is_kept_than_the_goal_needs():
    code = LOAD + FEATURES + TRAIN + "rest = 1\n" * 20 + BAD
    assert reached_goal(failed(code))[1].code == LOAD + FEATURES + TRAIN


def test_a_program_that_ended_without_a_usable_submission_is_cut_to_its_goal():
    code = LOAD + FEATURES + TRAIN + "open('submission.csv', 'w').write('wrong')\n"
    outcome = failed(code, MILESTONES, status="ok", stderr="-")
    assert reached_goal(outcome) == (Milestone.TRAINED_MODEL, Program("a plan", LOAD + FEATURES + TRAIN))


@pytest.mark.parametrize(
    "outcome",
    [
        failed(LOAD + FEATURES + TRAIN + BAD, MILESTONES[:4]),  # the run did not reach what the text holds
        failed(LOAD + FEATURES + TRAIN.replace("model.fit", "model.get_params") + BAD),  # and the other way around
        failed(LOAD + FEATURES + TRAIN + BAD, line=7),  # the failing line is the training
        failed(LOAD + FEATURES + TRAIN + BAD, stderr="Killed"),
        failed(LOAD + FEATURES + TRAIN + BAD, status="timeout", kind="timeout"),
        failed(LOAD + FEATURES + TRAIN + BAD, status="memory"),
        failed(LOAD + FEATURES + TRAIN + BAD, kind="valid"),
        failed(LOAD + "X = (\n"),
        failed("def main():\n    " + (LOAD + FEATURES + TRAIN + BAD).replace("\n", "\n    ") + "\nmain()\n"),
        failed(LOAD + FEATURES + TRAIN.rstrip() + "; " + BAD),  # on the line of the failing statement
        Outcome("toy", "failure", -10.0, None, extraction_reason="no_code_block"),
    ],
)
def test_what_shows_nothing_is_left_out(outcome):
    assert reached_goal(outcome) is None


def test_the_easiest_goal_is_a_choice():
    outcome = failed(LOAD + BAD, MILESTONES[:2])
    assert reached_goal(outcome) is None
    assert reached_goal(outcome, least=Milestone.LOADED_DATA) == (Milestone.LOADED_DATA, Program("a plan", LOAD))


def test_the_prompt_asks_for_the_goal_alone():
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "the task"}]
    changed = goal_prompt(prompt, Milestone.TRAINED_MODEL)
    assert changed[0] == prompt[0]
    assert changed[1]["content"].startswith("the task\n\n# Only a part\n")
    assert "trains a model" in changed[1]["content"]
    assert prompt[1]["content"] == "the task"


def test_a_demonstration_holds_the_program_again():
    prompt = [{"role": "user", "content": "the task"}]
    outcome = failed(LOAD + FEATURES + TRAIN + BAD)
    demonstration = hindsight_demonstration(outcome, lambda task_id: prompt)
    assert extract_program(demonstration.completion) == Program("a plan", LOAD + FEATURES + TRAIN)
    assert demonstration.group == ("toy", "hindsight")


@settings(max_examples=60, deadline=None)
@given(
    code=st.text(max_size=300)
    | st.lists(st.sampled_from([LOAD, FEATURES, TRAIN, BAD, "if x:\n    pass\n", ")\n"])).map("".join),
    line=st.integers(0, 30),
    milestones=st.sets(st.sampled_from(MILESTONES)),
)
def test_any_program_is_cut_to_statements_before_the_failing_line(code, line, milestones):
    found = reached_goal(failed(code, sorted(milestones), line=line), Milestone.LOADED_DATA)
    if found:
        goal, cut = found
        assert milestones >= GOALS[goal][0]
        assert code.startswith(cut.code.rstrip("\n"))
        assert cut.code.count("\n") < line
        ast.parse(cut.code)


@pytest.mark.parametrize("text", ["x = '<|im_end|>'\n", "x = '''\n```\n'''\n", "\x00", ""])
def test_a_text_that_would_end_the_completion_is_no_demonstration(text):
    completion = completion_of(Program("", text))
    assert completion is None or extract_program(completion).code == text


@pytest.mark.slow
def test_the_part_that_is_left_runs_and_reaches_the_goal(tmp_path):
    """With the real sandbox, from a program that fails at its end."""
    task = toy_task(tmp_path)

    async def score(code):
        async with ProgramScorer(LocalSandbox(workers=1)) as scorer:
            return await scorer.score(Program("", code), task)

    outcome = asyncio.run(score(LOAD + FEATURES + TRAIN + BAD))
    goal, cut = reached_goal(outcome)
    again = asyncio.run(score(cut.code))
    assert again.execution.status == "ok"
    assert set(again.execution.milestones) >= GOALS[goal][0]
    assert again.public == Grade(None, False, "no submission.csv was written")
