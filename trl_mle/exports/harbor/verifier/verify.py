"""Grades a submission in Harbor's verifier: the code of trl_mle beside this file, the answers in `task/private`.

Writes `reward.json`: numbers alone, as Harbor asks for. `reward` is what training takes, and `private_score` is for reports. The
reason of an invalid submission goes to `reason.txt`. A fault of the grader ends with an error and without `reward.json`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Grade one submission."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--submission", type=Path, default=Path("/app/submission.csv"))
    parser.add_argument("--out", type=Path, default=Path("/logs/verifier"))
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE / "code"))
    settings = json.loads((HERE / "settings.json").read_text(encoding="utf-8"))

    from trl_mle.rewards.score_transform import transform_score
    from trl_mle.tasks.task_yaml import read_task_yaml

    folder = HERE / "task"
    module, name = settings["kind"]
    kind = getattr(importlib.import_module(module), name)
    fields = read_task_yaml(folder / "task.yaml", {kind.grader: kind})
    del fields["grader"]
    columns = tuple(settings["prediction_columns"])
    task = kind(folder=folder, description="", prediction_columns=columns, **fields)
    grade, private = (task.grade(arguments.submission, split) for split in (settings["reward_split"], "private"))
    result = {"reward": settings["failure_reward"], "valid": int(grade.valid)}
    if grade.valid and grade.score is not None:
        result |= {"reward": transform_score(grade.score, task.direction, task.transform), "score": grade.score}
    if private.valid and private.score is not None:
        result["private_score"] = private.score
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "reason.txt").write_text(grade.reason or "", encoding="utf-8", errors="replace")
    (arguments.out / "reward.json").write_text(json.dumps(result, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
