"""A made-up task in SandMLE's released layout: answers and evaluator among the public files."""

from __future__ import annotations

import random
from pathlib import Path

EVALUATOR = """\
import argparse
import json
import sys
from pathlib import Path

import pandas as pd
from sklearn.metrics import root_mean_squared_error

HERE = Path(__file__).parent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--submission_path", required=True)
    submission = pd.read_csv(parser.parse_args().submission_path)
    answer = pd.read_csv(HERE / "answer.csv")
    if set(submission["id"]) != set(answer["id"]):
        raise ValueError("ids differ")
    if (submission["price"] < 0).any():
        raise ValueError("a negative price")
    both = answer.merge(submission, on="id", suffixes=("", "_guess"))
    score = root_mean_squared_error(both["price"], both["price_guess"])
    print(json.dumps({"score": score, "is_lower_better": True, "gold_threshold": 2.0, "silver_threshold": 5.0,
                      "bronze_threshold": 9.0, "median_threshold": 12.0}))


if __name__ == "__main__":
    main()
"""


def make_task(root: Path, name: str = "house-prices-micro", evaluator: str = EVALUATOR, rows: int = 40) -> Path:
    """Write the task `name` below `root` and return its folder."""
    public = root / name / "prepared" / "public"
    public.mkdir(parents=True)
    rng = random.Random(0)
    table = [
        (f"h{at:03d}", area := rng.uniform(40, 200), round(0.3 * area + rng.gauss(0, 1), 4)) for at in range(60 + rows)
    ]
    train, test = table[:60], table[60:]
    _write(public / "train.csv", "id,area,price", train)
    _write(public / "test.csv", "id,area", [row[:2] for row in test])
    _write(public / "answer.csv", "id,price", [(row[0], row[2]) for row in test])
    _write(public / "sample_submission.csv", "id,price", [(row[0], 30.0) for row in test])
    (public / "description.md").write_text("# House prices, micro\n\nPredict the price. RMSE, lower is better.\n")
    (public / "evaluator.py").write_text(evaluator)
    return root / name


def _write(path: Path, header: str, rows: list) -> None:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
