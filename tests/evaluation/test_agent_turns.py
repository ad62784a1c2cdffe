"""What the turns of an agent did, counted from rollouts on disk, and shown."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from tests.support.rollouts import row, write_batch, write_run
from tests.support.tasks import toy_task
from trl_mle.evaluation import summarise
from trl_mle.evaluation.agent_turns import AgentTurns, agent_turns
from trl_mle.outcomes import RunColumn, read_rollouts
from trl_mle.reports import report_run


def rollout(*programs, submitted=False, refused=0):
    """A rollout whose programs have the given rewards; below -1 is a failure, and `None` a fault."""
    turns = [
        {
            "tool": "run_program",
            "kind": "fault" if reward is None else "failure" if reward < -1 else "valid",
            "reward": reward,
        }
        for reward in programs
    ]
    turns += [{"tool": "run_program", "kind": None, "reward": None, "refused": "runs"}] * refused
    last = programs[-1] if programs else -10.0
    outcome = row("fault" if last is None else "valid" if last >= -1 else "failure", last)
    return outcome | {RunColumn.TURNS: json.dumps(turns), RunColumn.SUBMITTED: submitted}


def test_repairs_and_improvements_are_counted_between_neighbours(tmp_path):
    batch = [
        rollout(-10.0, -9.5, 0.2),  # one failure stays, one is repaired
        rollout(0.1, 0.3, 0.3, submitted=True),  # better, then equal
        rollout(0.5, -10.0, refused=2),  # a failure is no improvement, and a refused call is no program
        rollout(0.5, None),  # of a fault nothing is known
        rollout(),
    ]
    write_batch(tmp_path, 0, batch)
    assert agent_turns(read_rollouts(tmp_path)) == AgentTurns(
        programs=9 / 5, first_valid_share=3 / 4, repaired_share=1 / 2, improved_share=1 / 3, submitted_share=1 / 5
    )


def test_rollouts_of_one_turn_have_none(tmp_path):
    write_run(tmp_path / "run")
    rollouts = read_rollouts(tmp_path / "run")
    assert agent_turns(rollouts) is None
    assert agent_turns(rollouts.assign(**{RunColumn.TURNS: None})) is None
    assert summarise(rollouts, {"toy": toy_task(tmp_path)}).first.turns is None


@pytest.mark.parametrize("width", [80, 120])
def test_the_report_shows_the_turns(tmp_path, width):
    folder = tmp_path / "run"
    write_batch(folder, 0, [rollout(-10.0, -10.0), rollout()])
    write_batch(folder, 1, [rollout(-10.0, 0.5), rollout(0.1, 0.2, submitted=True)])
    console = Console(record=True, width=width)
    report_run(folder, {"toy": toy_task(tmp_path)}, console=console)
    shown = console.export_text()
    lines = [line.replace("│", " ").split() for line in shown.partition("Turns of the agent")[2].splitlines()]
    assert ["first", "fifth", "1.0", "0%", "0%", "-", "0%"] in lines
    assert ["last", "fifth", "2.0", "50%", "100%", "100%", "50%"] in lines
    written = json.loads((folder / "summary.json").read_text())
    assert written["last"]["turns"]["repaired_share"] == 1.0
