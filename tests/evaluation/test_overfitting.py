"""A policy whose public score rises alone is found out; noise, and gains on both parts, are not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from tests.support.rollouts import row, write_batch
from tests.support.tasks import toy_task
from trl_mle.evaluation import summarise
from trl_mle.outcomes import Column, read_rollouts
from trl_mle.reports import report_run
from trl_mle.reports.terminal import scores_section


def run_of(folder, gain, private_gain, *, noise=0.05, seed=0, rows=16):
    """A run of ten batches: RMSE falls by `gain` on the public part and by `private_gain` on the private one."""
    random = np.random.default_rng(seed)
    for batch in range(10):
        entries = []
        for number in range(rows):
            entry = row("valid", 0.5, 1.0, 1.0, program=f"program {batch} {number}")
            common = noise * random.normal()
            entry[Column.PUBLIC_SCORE] = 2.0 - gain * batch / 9 + common + noise * random.normal()
            entry[Column.PRIVATE_SCORE] = 2.0 - private_gain * batch / 9 + common + noise * random.normal()
            entries.append(entry)
        write_batch(folder, batch, entries)
    return folder


def test_a_gain_that_is_public_only(tmp_path):
    folder, task = run_of(tmp_path / "run", 0.5, 0.0), toy_task(tmp_path)
    found = summarise(read_rollouts(folder), {"toy": task}).public_and_private["toy"]
    assert found.overfits
    assert found.public_last > found.public_first + 0.05
    assert found.private_last == pytest.approx(found.private_first, abs=0.03)
    output = io.StringIO()
    summary = report_run(folder, {"toy": task}, console=Console(file=output, width=200), html=False)
    assert "toy: the policy fits the public answers" in output.getvalue()
    assert found.sentence(code=True) in scores_section(summary, {})


@pytest.mark.parametrize(("gain", "private_gain"), [(0.5, 0.5), (0.5, 0.4), (0.0, 0.0), (-0.5, -0.5), (-0.3, -0.6)])
def test_what_is_no_overfitting(tmp_path, gain, private_gain):
    folder = run_of(tmp_path / "run", gain, private_gain)
    assert not summarise(read_rollouts(folder), {"toy": toy_task(tmp_path)}).public_and_private["toy"].overfits


def test_too_little_to_tell(tmp_path):
    task = {"toy": toy_task(tmp_path)}
    assert summarise(read_rollouts(run_of(tmp_path / "few", 0.5, 0.0, rows=4)), task).public_and_private == {}
    rollouts = read_rollouts(run_of(tmp_path / "run", 0.5, 0.0))
    rollouts[Column.PRIVATE_SCORE] = None
    assert summarise(rollouts, task).public_and_private == {}
