"""Rollouts on disk as `MLEReward` and the trainer leave them, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trl_mle.outcomes import SCHEMA_VERSION, Column, RunColumn


def row(kind, reward, public=None, private=None, seconds=1.0, program="pass", task_id="toy") -> dict[str, Any]:
    """One rollout with the columns that summaries read."""
    return {
        str(Column.SCHEMA): SCHEMA_VERSION,
        str(Column.KIND): kind,
        str(Column.REWARD): reward,
        str(Column.PUBLIC_SCORE): public,
        str(Column.PRIVATE_SCORE): private,
        str(Column.DURATION): seconds,
        str(Column.PROGRAM): program,
        str(Column.TASK_ID): task_id,
        str(Column.MILESTONES): ["imported_libraries"],
    }


def write_batch(run_dir: Path, step: int, rows: Sequence[dict[str, Any]]) -> Path:
    """Write one generation batch at training step `step`."""
    (run_dir / "rollouts").mkdir(parents=True, exist_ok=True)
    path = run_dir / f"rollouts/train_{step:06d}_00.parquet"
    pd.DataFrame(list(rows)).assign(**{RunColumn.STEP: step}).to_parquet(path)
    return path


def write_run(run_dir: Path) -> Path:
    """Ten generation batches of two: they get better, and two rows are infrastructure faults."""
    for batch in range(10):
        valid = row("valid", batch / 10, 3.0 - batch / 10, 4.0 - batch / 10, program=f"print({batch})")
        other = row("failure", -10.0, seconds=None) if batch < 8 else row("fault", None, seconds=None, program=None)
        write_batch(run_dir, batch, [valid, other])
    return run_dir
