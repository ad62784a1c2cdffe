"""Overlap with two processes, each group on both of them; and several actions in one completion. One launch for all."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from tests.support.launching import launch_well
from tests.training.overlap.test_overlap import rollouts


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overlap")
    # A thread that never ends must not keep its process from ending.
    launch_well("tests.support.overlap_two_processes", folder, timeout_s=150, ACCELERATE_USE_CPU="true")
    return folder, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def check_batches(table: pd.DataFrame, max_staleness: int) -> None:
    for _, step in table.groupby("step"):
        assert len(step) == 8
        assert step["prompt"].nunique() == step["generated_at_step"].nunique() == 1  # groups stay whole
        trained = step[~step["lost"]]
        expected = trained["action_duration"] / trained["action_duration"].mean()
        assert list(trained["duration_weight"]) == pytest.approx(list(expected))
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


@pytest.mark.parametrize("scenario", ["never_ends", "never_ends_in_a_thread"])
def test_programs_of_one_process_that_never_end_are_lost_on_both(run, scenario):
    folder, records = run
    table = rollouts(folder / scenario)
    check_batches(table, 4)
    lost = table[table["lost"]]
    assert len(table) == 10 * 8
    assert list(lost["staleness"]) == [
        4
    ]  # at its last chance one of the two groups goes without it, the other is dropped
    dropped = rollouts(folder / scenario, "lost")
    dropped = dropped[dropped["lost_because"] == "too stale"]
    assert list(dropped["staleness"]) == [5] * 8
    assert list(dropped["finished"]).count(False) == 1
    assert (lost["action_duration"] > 0).all()
    for record in records:
        assert record[scenario]["took_s"] < 240
        assert record[scenario]["old_logps_differ_by"] < 2e-5
    assert records[0][scenario]["parameters"] == records[1][scenario]["parameters"]


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
