"""A made-up clone of DARE-bench in its format: one data set of each kind, a few rows each."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

CLASSES = "someone_wine-kinds_class"
NUMBERS = "someone_house-prices_reg"
SERIES = "another_two-shops_ts"


def make_clone(folder: Path) -> Path:
    """Write the clone below `folder` and return its root."""
    root = folder / "dare-bench"
    rng = np.random.default_rng(0)
    entries = [_classes(root, rng), _numbers(root, rng), _series(root, rng)]
    (root / "data/eval/question_list.json").write_text(json.dumps(entries))
    (root / "LICENSE").mkdir()
    (root / "LICENSE/kaggle_license_test.csv").write_text(
        f"folder_name,license_name\n{CLASSES},CC-BY-NC-SA-4.0\n{NUMBERS},Attribution 4.0 International (CC BY 4.0)\n"
    )
    return root


def database(root: Path, name: str) -> Path:
    """Folder of a data set."""
    return root / "data/eval/databases" / name


def write_sqlite(path: Path, **tables: pd.DataFrame) -> None:
    """Write a database with `tables` by their names."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for name, table in tables.items():
            table.to_sql(name, connection, index=False)


def _entry(root: Path, name: str, task: str, targets: list[str], files: list[str], **question: str) -> dict:
    folder = database(root, name)
    for part in ("source", "verify"):
        (folder / part).mkdir(parents=True)
    facts = {"problem_type": task, "target": targets, "needed_files_v2": files, **question}
    url = f"https://www.kaggle.com/datasets/{name}"
    (folder / "verify/all_metadata.json").write_text(json.dumps({"question": facts, "data_info": {"url": url}}))
    (folder / "source/metadata.txt").write_text(
        "A table.\n\n=== Columns & descriptions ===\n\nsize: how large\ncolour: [no description]\n"
    )
    return {"file_path": name, "task": task, "question_v2": "...", "needed_files_v2": [*files, "metadata.txt"]}


def _classes(root: Path, rng: np.random.Generator) -> dict:
    entry = _entry(root, CLASSES, "classification", ["kind"], ["train_v2.sqlite", "val_v2.sqlite"])
    folder = database(root, CLASSES)
    frame = pd.DataFrame({"size": rng.normal(size=90).round(3), "colour": rng.choice(["None", "red", None], 90)})
    frame["kind"] = np.where(frame["size"] > 0.5, "sweet", np.where(frame["size"] > -0.5, "dry", "sour"))
    train, test = frame[:60], frame[60:].reset_index(drop=True)
    test.insert(0, "row_id", range(1, 31))
    write_sqlite(folder / "source/train_v2.sqlite", train_set=train)
    write_sqlite(folder / "source/val_v2.sqlite", val_set=test.drop(columns="kind"))
    # In another order than the rows to predict.
    test[["row_id", "kind"]][::-1].to_csv(folder / "verify/ground_truth.csv", index=False)
    return entry


def _numbers(root: Path, rng: np.random.Generator) -> dict:
    entry = _entry(root, NUMBERS, "regression", ["price", "rent"], ["train_v2.parquet", "val_v2.parquet"])
    folder = database(root, NUMBERS)
    frame = pd.DataFrame({"rooms": rng.integers(1, 9, 80), "area": rng.normal(100, 20, 80)})
    frame["price"] = 1000 * frame["area"] + rng.normal(0, 5000, 80)
    frame["rent"] = 8 * frame["area"] + 30 * frame["rooms"]
    test = frame[50:].reset_index(drop=True)
    test.insert(0, "row_id", range(1, 31))
    frame.loc[3, "rent"] = np.nan  # as in some of the real data sets
    frame[:50].to_parquet(folder / "source/train_v2.parquet")
    test.drop(columns=["price", "rent"]).to_parquet(folder / "source/val_v2.parquet")
    test[["row_id", "price", "rent"]].to_csv(folder / "verify/ground_truth.csv", index=False)
    return entry


def _series(root: Path, rng: np.random.Generator) -> dict:
    files = ["train.csv", "val_v2.csv"]
    times = {"time_column": "day", "time_format": "%d/%m/%Y"}
    entry = _entry(root, SERIES, "time_series_analysis", ["sold"], files, **times)
    folder = database(root, SERIES)
    days = pd.date_range("2024-01-20", periods=60, freq="D")
    frame = pd.DataFrame([(day, shop) for day in days for shop in ("north", "south")], columns=["day", "shop"])
    frame["sold"] = (np.arange(len(frame)) + rng.normal(0, 3, len(frame))).round(2)
    frame["visitors"] = rng.integers(0, 50, len(frame))
    frame["day"] = frame["day"].dt.strftime("%d/%m/%Y")
    late = frame.index >= 80
    # Two rows of the answers are among the training rows, one with its time in another spelling.
    given = frame[late].iloc[[0, 5]].copy()
    given.iloc[0, 0] = pd.to_datetime(given.iloc[0, 0], format="%d/%m/%Y").strftime("%Y-%m-%d")
    pd.concat([frame[~late], given]).to_csv(folder / "source/train.csv", index=False)
    test = frame.loc[late, ["day", "shop"]]
    test.sample(frac=1, random_state=1).to_csv(folder / "source/val_v2.csv", index=False)
    frame.loc[late, ["day", "shop", "sold"]].to_csv(folder / "verify/ground_truth_v2.csv", index=False)
    return entry
