"""DARE-bench through this package and without it.

1. Every data set of the clone loads as a task, or is refused with a reason.
2. On `--count` of them, spread evenly over the kinds, scikit-learn's default gradient boosting is fitted twice. Once on the raw
   files, read by pandas and sqlite3, and scored by scikit-learn: nothing of this package. Once as a program in the sandbox, which
   sees the task's public files, and scored by `task.grade(..., "all")`. The scores must be equal.

    DARE_BENCH_DIR=... python benchmarks/dare_bench.py --count 20 --out dare_bench.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import f1_score, r2_score
from sklearn.preprocessing import OrdinalEncoder

LIMIT_S = 1800.0
"""Wall-clock limit of a program, in seconds: the comparison is of scores, and the machine may be busy."""
PROGRAM = """\
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.preprocessing import OrdinalEncoder

def read(name):
    # Every digit counts, because boosting bins the values. Since version 3, that is the default of pandas.
    exact = {} if int(pd.__version__.split(".")[0]) > 2 else {"float_precision": "round_trip"}
    return pd.read_csv("input/" + name, keep_default_na=False, na_values=[""], low_memory=False, **exact)

train, test, sample = read("train.csv"), read("test.csv"), read("sample_submission.csv")
targets = [name for name in sample.columns if name != "row_id"]
features = [name for name in test.columns if name != "row_id"]
for target in targets:
    known = train[train[target].notna()]
    X, Z = known[features].copy(), test[features].copy()
    words = [name for name in features if X[name].dtype.kind not in "iufb" or Z[name].dtype.kind not in "iufb"]
    if words:
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        X[words] = encoder.fit_transform(X[words].astype(str))
        Z[words] = encoder.transform(Z[words].astype(str))
    model = (HistGradientBoostingClassifier if CLASSES else HistGradientBoostingRegressor)(random_state=0)
    sample[target] = model.fit(X.to_numpy(float), known[target]).predict(Z.to_numpy(float))
sample.to_csv("submission.csv", index=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="data sets that are fitted")
    parser.add_argument("--most-cells", type=int, default=1_000_000, help="largest training table that is fitted")
    parser.add_argument("--out", type=Path, help="JSON file for the rows")
    arguments = parser.parse_args()
    loaded, refused = load_all()
    chosen = choose(loaded, arguments.count, arguments.most_cells)
    rows = asyncio.run(compare(chosen))
    report(loaded, refused, rows)
    if arguments.out:
        result = {"versions": versions(), "refused": refused, "loaded": sorted(loaded), "rows": rows}
        arguments.out.write_text(json.dumps(result, indent=1))


def load_all() -> tuple[dict[str, object], dict[str, str]]:
    """Task or reason by the name of each data set."""
    from trl_mle.errors import UserError
    from trl_mle.tasks import list_tasks, load_task

    loaded: dict[str, object] = {}
    refused = {}
    for name in (name for name in list_tasks() if name.startswith("dare:")):
        try:
            loaded[name] = load_task(name)
        except UserError as error:
            refused[name] = str(error)
    return loaded, refused


def choose(loaded: dict[str, object], count: int, most_cells: int) -> list[object]:
    """Evenly many of each kind, evenly spaced in the alphabet."""
    kinds: dict[str, list] = {"class": [], "reg": [], "ts": []}
    for name, task in loaded.items():
        table = pd.read_csv(task.train_path, nrows=0)  # type: ignore[attr-defined]
        lines = sum(1 for _ in task.train_path.open("rb"))  # type: ignore[attr-defined]
        if lines * len(table.columns) <= most_cells:
            kinds[name.rpartition("_")[2]].append(task)
    chosen = []
    for number, tasks in enumerate(kinds.values()):
        share = count // 3 + (number < count % 3)
        at = np.linspace(0, len(tasks) - 1, min(share, len(tasks))).round().astype(int)
        chosen += [tasks[index] for index in at]
    return chosen


async def compare(tasks: list) -> list[dict]:
    """Both scores of each task."""
    from trl_mle import Limits, LocalSandbox

    rows = []
    async with LocalSandbox(workers=1) as sandbox:
        for task in tasks:
            began = time.perf_counter()
            name = task.id.removeprefix("dare:")
            raw, raw_plain, kind, unknown = score_outside(name)
            code = PROGRAM.replace("CLASSES", str(kind == "classification"))
            execution = await sandbox.run(code, task, Limits.for_task(task, LIMIT_S))
            if execution.submission is None:
                raise SystemExit(f"{name}: {execution.status}: {execution.stderr[-500:]}")
            grades = {split: task.grade(execution.submission, split) for split in ("all", "public", "private")}
            # Many forecasts are worse than the mean, and equal once they are clipped.
            plain = task if kind == "classification" else replace(task, metric="r2")
            rows.append(
                {
                    "name": name,
                    "kind": kind,
                    "outside": raw,
                    **{split: grade.score for split, grade in grades.items()},
                    "outside_unclipped": raw_plain,
                    "all_unclipped": plain.grade(execution.submission, "all").score,
                    "labels_without_answer": unknown,
                    "seconds": round(time.perf_counter() - began, 1),
                }
            )
            print(rows[-1], flush=True)
    return rows


def score_outside(name: str) -> tuple[float, float, str, int]:
    """DARE-bench's score of the boosting on the raw files, the same without clipping, the kind, and how many predicted labels no
    answer has."""
    folder = Path(os.environ["DARE_BENCH_DIR"]) / "data/eval/databases" / name
    question = json.loads((folder / "verify/all_metadata.json").read_text())["question"]
    kind, targets = question["problem_type"], question["target"]
    train, test = (read_raw(next((folder / "source").glob(pattern))) for pattern in patterns(kind))
    answers = pd.read_csv(
        folder / "verify" / ("ground_truth_v2.csv" if kind.startswith("time") else "ground_truth.csv")
    )
    keys = [column for column in answers.columns if column not in targets]
    if kind.startswith("time"):
        # The rows that give answers away, which the task leaves out. No time zone or format differs between these files.
        given = train.merge(test[keys].drop_duplicates(), on=keys, how="left", indicator=True)["_merge"] == "both"
        train = train[~given.to_numpy()]
    features = [column for column in test.columns if column != "row_id"]
    scores, plain, unknown = [], [], 0
    for target in targets:
        predicted = test[keys].assign(predicted=fit_predict(train, test, features, target, kind))
        both = answers[[*keys, target]].merge(predicted, on=keys)
        assert len(both) == len(answers)
        if kind == "classification":
            scores.append(f1_score(both[target], both["predicted"], average="macro"))
            plain.append(scores[-1])
            unknown += len(set(both["predicted"]) - set(both[target]))
        else:
            plain.append(r2_score(both[target], both["predicted"]))
            scores.append(float(np.clip(plain[-1], 0, 1)))
    return float(np.mean(scores)), float(np.mean(plain)), kind, unknown


def patterns(kind: str) -> tuple[str, str]:
    return ("train.csv", "val_v2.*") if kind.startswith("time") else ("train_v2.*", "val_v2.*")


def read_raw(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as connection:
            ((table,),) = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return pd.read_sql(f'SELECT * FROM "{table}"', connection)
    exact = {} if int(pd.__version__.split(".")[0]) > 2 else {"float_precision": "round_trip"}
    return pd.read_csv(path, keep_default_na=False, na_values=[""], low_memory=False, **exact)


def fit_predict(train: pd.DataFrame, test: pd.DataFrame, features: list[str], target: str, kind: str) -> np.ndarray:
    known = train[train[target].notna()]
    X, Z = known[features].copy(), test[features].copy()
    words = [name for name in features if X[name].dtype.kind not in "iufb" or Z[name].dtype.kind not in "iufb"]
    if words:
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        X[words] = encoder.fit_transform(X[words].astype(str))
        Z[words] = encoder.transform(Z[words].astype(str))
    model = HistGradientBoostingClassifier if kind == "classification" else HistGradientBoostingRegressor
    return model(random_state=0).fit(X.to_numpy(float), known[target]).predict(Z.to_numpy(float))


def versions() -> dict[str, str]:
    return {"scikit-learn": sklearn.__version__, "pandas": pd.__version__, "numpy": np.__version__}


def report(loaded: dict[str, object], refused: dict[str, str], rows: list[dict]) -> None:
    print(f"\n{len(loaded)} loaded, {len(refused)} refused")
    for reason, times in Counter(reason_of(text) for text in refused.values()).most_common():
        print(f"{times:4d} {reason}")
    print("\n| data set | outside | here | outside, not clipped | here, not clipped |\n|---|---|---|---|---|")
    for row in rows:
        numbers = (row[key] for key in ("outside", "all", "outside_unclipped", "all_unclipped"))
        print(f"| {row['name']} | {' | '.join(f'{number:.9f}' for number in numbers)} |")
    equal = sum(
        np.isclose(row["outside"], row["all"], rtol=1e-9, atol=1e-9)
        and np.isclose(row["outside_unclipped"], row["all_unclipped"], rtol=1e-9, atol=1e-9)
        for row in rows
    )
    print(f"\n{equal} of {len(rows)} equal within 1e-9; versions: {versions()}")


def reason_of(text: str) -> str:
    """The reason without names of files."""
    if "does not exist" in text:
        return "a file is missing: the clone is not complete"
    return text.rpartition("/")[2][:100]


if __name__ == "__main__":
    main()
