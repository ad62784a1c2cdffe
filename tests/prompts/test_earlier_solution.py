"""Prompts with an earlier solution: what they show, and what they never show."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.prompts.test_prompts import write_task
from tests.support.earlier_outcomes import CODE, earlier
from trl_mle import build_prompt
from trl_mle.errors import ConfigError, ParentNotShownError
from trl_mle.instrumentation.marks import mark, metric_prefix, new_nonce
from trl_mle.prompts import prompt_kind
from trl_mle.prompts.scratch import PYTHON
from trl_mle.tasks import load_task
from trl_mle.types import Grade, InstrumentedProgram, Outcome, Program


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write_task(
        tmp_path_factory.mktemp("task"), pd.DataFrame({"id": [1, 2], "y": [0.5, 1.5]}), "y", time_limit_s=10.0
    )


def shown(task, outcome) -> str:
    return build_prompt(task, outcome)[1]["content"]


def test_the_prompt_is_the_task_then_the_solution_then_the_question(task):
    scratch = build_prompt(task)
    improve = build_prompt(task, earlier())
    assert improve[0] == scratch[0]
    before = scratch[1]["content"].split("# Answer")[0]
    rest = improve[1]["content"].removeprefix(before)
    assert rest == (
        "# An earlier solution\n"
        "Its score: 0.123457 (root mean squared error; lower is better).\n"
        "It ran 1.23 s of at most 10 s.\n\n"
        "Its plan:\n```text\nA plan.\n```\n\n"
        f"Its program:\n```python\n{CODE}```\n\n"
        "It printed:\n```text\nhold-out score: 0.5\n```\n\n"
        "# Answer\n"
        "Write a better solution, one with a lower score. Write a plan of at most five short lines: what you keep and what you "
        "change. Then write the whole program in exactly one ```python block, and nothing after it."
    )


def test_metrics_of_the_instrumented_program_are_shown(task):
    text = shown(task, earlier(metrics={"validation_score": 0.75, "training_loss": 1 / 3}))
    assert "It reported: training loss 0.333333, validation score 0.75." in text


def test_private_score_nonce_and_marks_are_never_shown(task):
    nonce = new_nonce()
    leak = mark(nonce, "loaded_data")
    printed = f"a\n{leak}\n{metric_prefix(nonce, 'training_loss')}0.5]]\nb {leak[:40]}"
    code = f"print({leak!r})\nprint('instrumented')"
    for outcome in (earlier(stdout=printed), earlier("failure", stderr=printed)):
        instrumented = InstrumentedProgram(code, Program("", CODE), nonce, ("loaded_data",))
        text = shown(task, replace(outcome, instrumented=instrumented))
        assert "0.98765" not in text and "987" not in text
        assert nonce not in text and "trl_mle" not in text and "instrumented" not in text
        assert "a\nb" in text


def test_a_failed_solution_is_shown_with_its_own_part_of_the_error(task):
    error = (
        "Traceback (most recent call last):\n"
        '  File "main.py", line 3, in <module>\n'
        "    fit()\n"
        '  File "/x/lib/python3.11/site-packages/sklearn/base.py", line 1, in wrapper\n'
        "    return fit_method()\n"
        '  File "<frozen os>", line 1, in other\n'
        '  File "pandas/_libs/index.pyx", line 172, in pandas._libs.index.IndexEngine.get_loc\n'
        '  File "pandas/_libs/hashtable_class_helper.pxi", line 7726, in get_item\n'
        '  File "main.py", line 9, in fit\n'
        "    raise ValueError\n"
        "ValueError: no\n"
    )
    text = shown(task, earlier("failure", stderr=error, reason="no submission.csv was written"))
    assert (
        "It failed. It ended with an error (exit code 1).\nIt ran 1.23 s of at most 10 s.\n" in text
        and "The end of its error output:\n```text\nTraceback (most recent call last):\n"
        '  File "main.py", line 3\n    fit()\n  File "main.py", line 9, in fit\n    raise ValueError\nValueError: no\n```\n'
        in text
    )
    assert "Write a solution that works." in text and "score:" not in text.split("# An earlier solution")[1]


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (earlier("timeout", stderr="Warning"), "It failed. It was stopped at its time limit."),
        (earlier("failure", status="memory"), "It failed. It was stopped because it used more memory than it may."),
        (earlier("failure", status="ok", reason="missing `y`\n# Rules"), "is not valid: missing y # Rules.\n"),
        (earlier("failure", status="ok"), "It failed.\n"),
    ],
)
def test_a_failure_without_an_error_is_shown_with_its_reason_and_output(task, outcome, words):
    text = shown(task, outcome)
    assert words in text and "It printed:\n```text\nhold-out score: 0.5" in text and "Warning" not in text


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("t", "fault", None, None, program=Program("", "x = 1"), fault="gone"),
        Outcome("t", "failure", -10.0, None, extraction_reason="no_code_block"),
        Outcome("t", "failure", -10.0, 0.1, program=Program("", " \n")),
    ],
)
def test_what_no_prompt_can_show(task, outcome):
    with pytest.raises(ParentNotShownError):
        build_prompt(task, outcome)


def test_an_outcome_of_another_task_is_an_error(task, tmp_path):
    other = write_task(tmp_path, pd.DataFrame({"id": [1], "y": [0.5]}), "y", id="u")
    with pytest.raises(ConfigError, match="outcome of the task 't', but the prompt is for 'u'"):
        build_prompt(other, earlier())


def test_the_kinds_of_prompts():
    kinds = [prompt_kind(outcome) for outcome in (None, earlier(), earlier("failure"), earlier("timeout"))]
    assert kinds == ["scratch", "improve", "debug", "debug"]


def test_the_docs_show_the_prompts_as_they_are(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path_factory.mktemp("cache")))
    task = load_task("builtin:computers")
    text = (Path(__file__).parents[2] / "docs/prompts.md").read_text(encoding="utf-8")
    scratch, improve, debug = re.findall(r"(?s)\n````text\n(.*?)\n````\n", text)
    assert scratch == build_prompt(task)[1]["content"].replace(f"Python {PYTHON}.", "Python 3.11.")
    for shown, kind, result in (
        (
            improve,
            "valid",
            {"stdout": "hold-out score: 279.75743470906104", "metrics": {"validation_score": 279.75743470906104}},
        ),
        (debug, "failure", {"stderr": debug.split("```text\n")[-1].split("\n```")[0]}),
    ):
        plan, code = re.search(r"(?s)```text\n(.*?)\n```.*?```python\n(.*?)\n```", shown).groups()
        outcome = replace(earlier(kind, code=code, plan=plan, **result), task_id=task.id)
        if kind == "valid":
            outcome = replace(outcome, public=Grade(283.7941, True))
        rest = build_prompt(task, outcome)[1]["content"].split("# An earlier solution")[1]
        assert re.sub("ran .* s of", "", "# An earlier solution" + rest) == re.sub("ran .* s of", "", shown)
