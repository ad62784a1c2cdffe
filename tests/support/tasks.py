"""A task folder small enough to make in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from trl_mle import Task, load_task


def toy_task(folder: Path, rows: int = 90, **programs: str) -> Task:
    """A regression `y = 2 a - b` with 40 rows to predict, and `reference=` and `baseline=` programs where given."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame(rng.normal(size=(rows + 40, 2)), columns=["a", "b"])
    data["y"] = 2 * data["a"] - data["b"] + 0.1 * rng.normal(size=len(data))
    data.insert(0, "id", np.arange(len(data)))
    home = folder / "toy"
    (home / "public").mkdir(parents=True)
    (home / "private").mkdir()
    train, test = data[:rows], data[rows:]
    train.to_csv(home / "public/train.csv", index=False)
    test[["id", "a", "b"]].to_csv(home / "public/test.csv", index=False)
    test[["id"]].assign(y=0.0).to_csv(home / "public/sample_submission.csv", index=False)
    split = np.where(np.arange(len(test)) % 2 == 0, "public", "private")
    test[["id", "y"]].assign(split=split).to_csv(home / "private/answers.csv", index=False)
    (home / "description.md").write_text("Predict y from a and b.\n")
    (home / "task.yaml").write_text(
        "id: toy\ntitle: A line\nmetric: rmse\ndirection: minimize\nid_column: id\ntarget_column: y\n"
        "time_limit_s: 20\ntransform: {kind: linear, worst: 3.0, best: 0.0}\n"
    )
    for name, code in programs.items():
        (home / f"{name}.py").write_text(code)
    return load_task(str(home))
