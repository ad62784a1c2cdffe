"""Overlap with two processes, each group on both of them; and several actions in one completion."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from tests.support.overlap_two_processes import SLOW_S
from tests.training.overlap.test_overlap import rollouts


@pytest.fixture(scope="module")
def run(two_processes):
    folder = two_processes.folder / "overlap_two_processes"
    return folder, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def check_batches(table: pd.DataFrame, max_staleness: int) -> None:
    for _, step in table.groupby("step"):
        assert len(step) == 8
        assert step["prompt"].nunique() == step["generated_at_step"].nunique() == 1  # groups stay whole
        expected = step["action_duration"] / step["action_duration"].mean()
        assert list(step["duration_weight"]) == pytest.approx(list(expected))
    assert not table["lost"].any()
    assert (table["staleness"] == table["step"] - table["generated_at_step"]).all()
    assert 0 < table["staleness"].max() <= max_staleness


def test_late_groups_of_both_processes(run):
    folder, records = run
    table = rollouts(folder / "late")
    check_batches(table, 4)
    assert len(table) == 10 * 8
    for record in records:
        assert record["late"]["old_logps_differ_by"] < 2e-5
    assert records[0]["late"]["parameters"] == records[1]["late"]["parameters"]


def test_a_resumed_run_takes_up_what_was_in_flight_on_both(run):
    folder, records = run
    table = rollouts(folder / "late")  # the files past the checkpoint are those of the resumed run
    assert table[table["step"] == 4]["generated_at_step"].max() < 4
    assert records[0]["resumed"]["parameters"] == records[1]["resumed"]["parameters"]
    assert records[0]["resumed"]["batches"] == 6


@pytest.mark.parametrize("scenario", ["slow", "slow_in_a_thread"])
def test_slow_programs_of_one_process_are_waited_for_on_both(run, scenario):
    folder, records = run
    table = rollouts(folder / scenario)
    check_batches(table, 4)
    assert len(table) == 10 * 8
    # Two groups of one age have slow programs: the first is waited for while the second still has a step left.
    assert list(table[table["action_duration"] == SLOW_S]["staleness"]) == [3, 4]
    dropped = rollouts(folder / scenario, "lost")
    assert set(dropped["lost_because"]) == {"training ended"}
    if scenario == "slow_in_a_thread":  # where programs of the last batch never end
        assert not dropped["finished"].all()
    for record in records:
        assert record[scenario]["took_s"] < 240
        assert record[scenario]["old_logps_differ_by"] < 2e-5
    assert records[0][scenario]["parameters"] == records[1][scenario]["parameters"]


def test_no_task_is_pending_when_the_process_ends(run, two_processes):
    """The last scenario stops programs that need a second to end."""
    folder, _ = run
    dropped = rollouts(folder / "late", "lost")
    assert (~dropped["finished"] & (dropped["generated_at_step"] == 9)).any()
    assert "Task was destroyed but it is pending" not in two_processes.output


def test_the_mean_over_actions_is_over_both_processes(run):
    folder, records = run
    table = rollouts(folder / "actions")
    for index, (_, step) in enumerate(table.groupby("step")):
        seconds = torch.tensor([list(row) for row in step["per_action_durations"]], dtype=torch.float64)
        weights = seconds / seconds.mean()
        assert seconds[4:].mean() > seconds[:4].mean() + 1
        plain = torch.tensor(step["advantage"].tolist(), dtype=torch.float64)[:, None]
        expected = torch.cat([weights[:, :1].expand(8, 3), weights[:, 1:].expand(8, 5)], 1) * plain
        effective = torch.cat([record["actions"]["advantages"][index] for record in records])
        assert torch.allclose(effective.double(), expected, atol=1e-6)
