"""Grades of MLE-bench's package beside ours: 30 submissions, good and bad, for each of ten competitions.

    git clone https://github.com/openai/mle-bench
    pip install appdirs diskcache levenshtein py7zr
    python benchmarks/mlebench_equality.py --clone mle-bench

Raw data is made up in Kaggle's formats and prepared by the package's own functions. Leaderboards that are pointers of Git LFS are
replaced by made-up ones, in a copy of the package. Compared are score, validity, medal, median and direction.

`equal`: a task of `load_task` gives what the package's report says. The report rounds scores to 5 decimals, and so are ours.
`by id`: submissions that differ because ids are checked, and rows matched by them, where the package's grader goes by position.
`alone`: our graders, which need no package, give the score of the package's function within 1e-9, and refuse the same.
Printed, and written to `docs/results/mlebench_equality.json`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import random
import shutil
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from checkout import ROOT
from mlebench_raw import RAW
from mlebench_submissions import submissions

POSITIONAL = {"nomad2018-predict-transparent-conductors"}
"""Competitions whose grader matches rows by their position and reads no ids."""
TEAMS = 1200


def copy_package(clone: Path, target: Path) -> None:
    """Copy the package `mlebench` out of a clone, with made-up leaderboards for pointers, and make it importable."""
    shutil.copytree(clone / "mlebench", target / "mlebench")
    sys.path.insert(0, str(target))


def write_leaderboard(path: Path, best: float, worst: float, rng: random.Random) -> bool:
    """Write scores of teams between `best` and `worst` in place of a pointer of Git LFS."""
    if not path.read_bytes().startswith(b"version https://git-lfs"):
        return False
    scores = sorted((best + (worst - best) * rng.random() ** 0.5 for _ in range(TEAMS)), reverse=best > worst)
    lines = "".join(f"{score:.5f},,\n" for score in scores)
    path.write_text(f"score,teamId,submissionDate\n{lines}", encoding="utf-8")
    return True


def prepare(competition: Any, rng: random.Random) -> None:
    for folder in (competition.raw_dir, competition.public_dir, competition.private_dir):
        folder.mkdir(parents=True)
    RAW[competition.id](competition.raw_dir, rng)
    competition.prepare_fn(raw=competition.raw_dir, public=competition.public_dir, private=competition.private_dir)
    (competition.public_dir / "description.md").write_text(competition.description, encoding="utf-8")


def package_report(path: Path, competition: Any) -> Any:
    """The package's report, or `None` where it cannot read the submission."""
    from mlebench.grade import grade_csv

    try:
        return grade_csv(path, competition)
    except (ValueError, UnicodeDecodeError):
        return None


def direction_scores(competition: Any) -> tuple[float, float]:
    """A best score and that of the sample submission, from which a leaderboard is made up."""
    from mlebench.utils import load_answers, read_csv

    answers = load_answers(competition.answers)
    truth = answers[list(read_csv(competition.sample_submission).columns)]
    best = competition.grader.grade_fn(truth, answers)
    try:
        worst = competition.grader.grade_fn(read_csv(competition.sample_submission), answers)
    except ZeroDivisionError:  # two empty texts
        worst = 0.0
    return best, worst


def compare(name: str, registry: Any, folder: Path, seed: int) -> dict[str, Any]:
    """Grade all submissions of a competition three ways."""
    from mlebench.utils import load_answers, read_csv

    from trl_mle.grading import FormError
    from trl_mle.tasks import load_task
    from trl_mle.tasks.mlebench.grading import score_submission
    from trl_mle.tasks.mlebench.own_graders import own_grader

    rng = random.Random(seed)
    competition = registry.get_competition(name)
    prepare(competition, rng)
    write_leaderboard(competition.leaderboard, *direction_scores(competition), rng)
    task = load_task(f"mlebench:{name}")
    answers = load_answers(competition.answers)
    sample = read_csv(task.sample_path)
    alone = own_grader(name, task.id_column, task.prediction_columns)
    row: dict[str, Any] = {
        "submissions": 0,
        "valid": 0,
        "equal": 0,
        "by id": 0,
        "medals": 0,
        "alone": 0,
        "differences": [],
    }
    if alone is None:
        row["alone"] = None
    largest = 0.0
    seconds: list[float] = []
    for title, content in submissions(answers[list(sample.columns)], task.id_column, seed):
        path = folder / "submission.csv"
        path.write_bytes(content)
        report = package_report(path, competition)
        start = time.perf_counter()
        grade = task.grade(content, "all")
        seconds.append(time.perf_counter() - start)
        row["submissions"] += 1
        row["valid"] += grade.valid
        theirs = (None, False, None, None)
        if report is not None and report.valid_submission and report.score == report.score:
            medal = next((m for m in ("gold", "silver", "bronze") if getattr(report, f"{m}_medal")), None)
            theirs = (report.score, True, medal, report.above_median)
            assert report.is_lower_better == (task.direction == "minimize")
        ours = (None if grade.score is None else round(grade.score, 5), grade.valid, grade.medal, grade.above_median)
        row["medals"] += grade.medal is not None
        if ours == theirs or (theirs[0] is None and not grade.valid):
            row["equal"] += 1
        elif name in POSITIONAL and title in ("id column missing", "row twice", "one row for another", "index column"):
            row["by id"] += 1
        else:
            row["differences"].append([title, str(theirs), str(ours), grade.reason])
        if alone is not None:
            try:
                score = score_submission(content, task.answer_table(), alone, "all")
            except FormError:
                score = None
            if (score is None) != (grade.score is None):
                row["differences"].append([title, "alone", score, grade.score, grade.reason])
            elif score is None or abs(score - grade.score) <= 1e-9:
                row["alone"] += 1
                largest = max(largest, 0.0 if score is None else abs(score - grade.score))
            else:
                row["differences"].append([title, "alone", score, grade.score])
    row |= {"largest": largest, "ms": round(1000 * sorted(seconds)[len(seconds) // 2], 1)}
    row |= {"parts": task.divided, "files": sum(path.is_file() for path in task.public_dir.rglob("*"))}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clone", type=Path, required=True, help="clone of github.com/openai/mle-bench")
    parser.add_argument("--only", nargs="*", default=list(RAW), help="competitions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/mlebench_equality.json")
    args = parser.parse_args()
    clone = args.clone.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"MLEBENCH_DATA_DIR": str(folder / "data"), "TRL_MLE_CACHE": str(folder / "cache")}
        os.chdir(folder)  # the package makes a folder `cache` where it runs
        copy_package(clone, folder)
        registry = importlib.import_module("mlebench.registry").registry.set_data_dir(folder / "data")
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        rows = {}
        for competition in args.only:
            rows[competition] = compare(competition, registry, folder, args.seed)
            print(
                competition,
                {key: value for key, value in rows[competition].items() if key != "differences"},
                flush=True,
            )
            for difference in rows[competition]["differences"]:
                print("   differs:", difference)
    packages = {package: version(package) for package in ("pandas", "scikit-learn", "numpy")}
    record = {"python": platform.python_version(), **packages, "seed": args.seed, "competitions": rows}
    args.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
