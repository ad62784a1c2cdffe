"""What the rollouts of a training say: speed, time to 90 % of the final reward, samples to the first valid program, slow share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.clock import read_clock
from ablations.plain import ROLLOUTS
from ablations.samples import SLOW_FAMILIES
from trl_mle.evaluation.overfitting import public_and_private
from trl_mle.outcomes import Column, RunColumn, read_rollouts
from trl_mle.types import TaskSpec

PIECES = 6
"""Equal pieces of a run, by updates."""
SMOOTH = 5
"""Updates of the running mean in which 90 % are looked for."""


def rollouts_of(folder: Path) -> pd.DataFrame | None:
    """Rollouts of a training in their order, by the package's names of columns; `None` if there was none."""
    plain = folder / ROLLOUTS
    if plain.exists():
        return pd.DataFrame([json.loads(line) for line in plain.read_text(encoding="utf-8").splitlines()])
    return read_rollouts(folder) if (folder / "rollouts").exists() else None


def training_figures(folder: Path) -> dict[str, Any]:
    """Figures of a training; empty if there was none. Infrastructure faults are left out of all but the number of programs."""
    rollouts, clock = rollouts_of(folder), read_clock(folder)
    if rollouts is None or not clock:
        return {}
    steps, seconds = clock[-1]
    # A rollout that was generated for the first update has step 0. Overlapped ones may be trained on later.
    rollouts = rollouts[rollouts[RunColumn.STEP] < steps]
    programs = programs_in(rollouts)
    known = rollouts[rollouts[Column.KIND] != "fault"].reset_index(drop=True)
    valid = known.index[known[Column.KIND] == "valid"]
    by_step = known.groupby(RunColumn.STEP)[Column.REWARD].mean()
    reached = step_of_90(by_step)
    at = {0: 0.0} | dict(clock)
    return {
        "updates": steps,
        "programs": programs,
        "seconds": round(seconds, 1),
        "programs per second": round(programs / seconds, 3),
        "reward": [
            round(float(piece.mean()), 4) for piece in np.array_split(by_step.to_numpy(), PIECES) if len(piece)
        ],
        "slow share by sixths": slow_shares(known),
        "samples to the first valid program": int(valid[0]) + 1 if len(valid) else None,
        "seconds to 90 % of the final reward": None if reached is None else round(at.get(reached + 1, seconds), 1),
        "programs to 90 % of the final reward": None
        if reached is None
        else programs_in(rollouts[rollouts[RunColumn.STEP] <= reached]),
    }


def learned_scores(folder: Path, task: TaskSpec) -> dict[str, float]:
    """Mean public and private scores of the valid programs of the last fifth of a training, on the scale of the reward.

    Empty if there are too few, or if the training kept no private scores, as the plain one does.
    """
    rollouts = rollouts_of(folder)
    if rollouts is None or Column.PRIVATE_SCORE not in rollouts:
        return {}
    fifth = len(rollouts) // 5
    found = public_and_private(rollouts.iloc[:fifth], rollouts.iloc[-fifth:], {task.id: task}).get(task.id)
    if found is None:
        return {}
    return {"public at the end": round(found.public_last, 4), "private at the end": round(found.private_last, 4)}


def programs_in(rollouts: pd.DataFrame) -> int:
    """Programs of rollouts: those that an agent ran, or one per completion that holds one."""
    if RunColumn.PROGRAMS_RUN in rollouts and rollouts[RunColumn.PROGRAMS_RUN].notna().any():
        return int(rollouts[RunColumn.PROGRAMS_RUN].sum())
    return int(rollouts[Column.PROGRAM].notna().sum())


def step_of_90(by_step: pd.Series) -> int | None:
    """First update whose running mean has made 90 % of the way to the final reward, the mean of the last sixth.

    `None` if the reward did not rise.
    """
    if len(by_step) < PIECES:
        return None
    smooth = by_step.rolling(SMOOTH, min_periods=1).mean()
    first, final = float(by_step.iloc[0]), float(by_step.iloc[-(len(by_step) // PIECES) :].mean())
    if not final > first:
        return None
    there = smooth.index[smooth >= first + 0.9 * (final - first)]
    return int(there[0]) if len(there) else None


def slow_shares(rollouts: pd.DataFrame) -> list[float | None]:
    """Share of slow model families among the valid programs of each sixth of the run: the fast bias, if it falls."""
    valid = rollouts[rollouts[Column.KIND] == "valid"]
    last = int(rollouts[RunColumn.STEP].max()) + 1 if len(rollouts) else 1
    shares: list[float | None] = []
    for piece in range(PIECES):
        rows = valid[valid[RunColumn.STEP] * PIECES // last == piece]
        slow = rows[Column.PROGRAM].astype(str).str.contains(SLOW_FAMILIES)
        shares.append(round(float(slow.mean()), 4) if len(slow) else None)
    return shares


def best_program(folder: Path, task_id: str) -> str | None:
    """Code of the valid program of a training with the highest public score on a task, the first of equal ones."""
    rollouts = rollouts_of(folder)
    if rollouts is None:
        return None
    known = (
        (rollouts[Column.KIND] == "valid") & rollouts[Column.PROGRAM].notna() & (rollouts[Column.TASK_ID] == task_id)
    )
    valid = rollouts[known].reset_index(drop=True)
    if not len(valid):
        return None
    # The score alone: the reward of an episode may hold more than that of its program.
    return str(valid.loc[valid[Column.REWARD_SCORE].astype(float).idxmax(), Column.PROGRAM])
