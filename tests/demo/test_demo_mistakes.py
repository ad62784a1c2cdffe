"""Each mistake breaks its program in the way that it says, on real tasks and in the sandbox."""

from __future__ import annotations

import pytest

from trl_mle import Limits, extract_program, load_task
from trl_mle.demo import BUGS, FAMILIES, TREATMENTS, build_completion, combinations
from trl_mle.demo.bugs import Context
from trl_mle.demo.programs import Choice
from trl_mle.demo.table import read_facts

SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("builtin:segment", "builtin:language")]

LINEAR = next(family for family in FAMILIES if family.name == "linear")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ["builtin:computers", *SLOW])
async def test_each_mistake_breaks_the_program_as_it_says(name, sandbox):
    task = load_task(name)
    facts = read_facts(task)
    treatment = next(treatment for family, treatment in combinations(task) if family is LINEAR)
    setting = LINEAR.settings[facts.kind == "regression"][0]
    for bug in BUGS:
        if not bug.applies(Context(task, facts, LINEAR)):
            continue
        text = build_completion(task, Choice(LINEAR, treatment, setting, refit=True, bugs=(bug,)))
        # The slow loop would take half an hour or more.
        limits = Limits(wall_s=2.0 if bug.shows_as == "timeout" else 240.0)
        execution = await sandbox.run(extract_program(text).code, task, limits)
        if bug.shows_as == "timeout":
            assert execution.status == "timeout", bug.name
        elif bug.shows_as == "submission":
            assert execution.status == "ok", (bug.name, execution.stderr)
            assert execution.submission is None or not task.grade(execution.submission).valid, bug.name
        else:
            assert execution.status == "error", bug.name
            last = execution.stderr.strip().splitlines()[-1]
            assert any(error in last for error in bug.shows_as.split()), (bug.name, execution.stderr)


def test_every_mistake_and_every_treatment_is_used_by_a_built_in_task():
    bugs, treatments = set(), set()
    for name in ("computers", "segment", "digits", "language"):
        task = load_task(f"builtin:{name}")
        context = Context(task, read_facts(task), LINEAR)
        bugs |= {bug.name for bug in BUGS if bug.applies(context)}
        treatments |= {treatment.name for _, treatment in combinations(task)}
    assert bugs == {bug.name for bug in BUGS}
    assert treatments == {treatment.name for treatment in TREATMENTS}
