"""`trl-mle rescore`: programs of stored rollouts run again, once each, into a table beside the old one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.scripts.test_evaluate_script import GOOD
from tests.support.tasks import toy_task
from trl_mle.errors import ConfigError
from trl_mle.evaluation import rescore as rules
from trl_mle.evaluation.sample_store import SampleStore
from trl_mle.outcomes import read_rollouts, to_row
from trl_mle.scripts import rescore
from trl_mle.scripts.arguments import MLEArguments
from trl_mle.training.rollout_writer import RolloutWriter
from trl_mle.types import Execution, Grade, Outcome, Program

VALID = f"A line.\n\n```python\n{GOOD}```"
BROKEN = "```python\nimport pandas as pd\n1 / 0\n```"
TALK = "I would rather not."


def outcome(text, **changes):
    """What an earlier version of the package thought of a completion."""
    valid = text == VALID
    values = {
        "task_id": "toy",
        "kind": "valid" if valid else "failure",
        "reward": 0.5 if valid else -10.0,
        "duration_s": None if text == TALK else 1.0,
        "reward_parts": {"score": 0.5} if valid else {"failure": -10.0, "milestones": 0.0},
        "extraction_reason": "no_code_block" if text == TALK else None,
        "program": None if text == TALK else Program("", GOOD if valid else "1 / 0"),
        "execution": None if text == TALK else Execution("ok" if valid else "error", 0, 1.0, 1.0, 1, "", ""),
        "public": Grade(0.75, True) if valid else None,
        "private": Grade(0.75, True) if valid else None,
    }
    return Outcome(**{**values, **changes})


@pytest.fixture
def run(tmp_path):
    """A run with two batches of rollouts, in which one completion occurs twice."""
    task = toy_task(tmp_path)
    folder = tmp_path / "run"
    writer = RolloutWriter(folder / "rollouts")
    for step, texts in enumerate(([VALID, BROKEN], [VALID, TALK])):
        rows = [to_row(outcome(text)) for text in texts]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        completions = [[{"role": "assistant", "content": text}] for text in texts]
        columns |= {"step": [step] * 2, "completion": completions, "advantage": [0.25, -0.25]}
        writer.write_columns(columns, step=step, mode="train")
    settings = MLEArguments(tasks=[str(task.folder)], sandbox_workers=1)
    content = {"mle": vars(settings), "training": {"max_steps": 2}, "model": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_programs_run_again_once_each_and_the_old_table_stays(run, capsys):
    before = read_rollouts(run)
    assert rescore.main([str(run)]) == 0
    shown = capsys.readouterr()
    assert "4 rollouts, scored again" in shown.out
    assert "3 of 3 samples" in shown.err
    after = read_rollouts(run / "rescored")
    assert list(after["kind"]) == list(before["kind"])
    assert (after["public_score"].dropna() < 0.2).all()
    assert after["public_score"].notna().sum() == 2
    assert len(after["milestones"][0]) >= 5
    assert list(after["advantage"]) == list(before["advantage"])
    assert list(after["extraction_reason"].dropna()) == ["no_code_block"]
    pd.testing.assert_frame_equal(read_rollouts(run), before)
    summary = json.loads((run / "rescored" / "rescore.json").read_text())
    assert (summary["rollouts"], summary["public_changed"]) == (4, 2)
    assert summary["kinds"] == {"valid -> valid": 2, "failure -> failure": 2}
    # What a kill has left out is run again, and nothing else.
    with SampleStore(run / "rescored") as store:
        store._database.execute("UPDATE samples SET outcome = NULL WHERE number = 1")
        store._database.commit()
    assert rescore.main([str(run)]) == 0
    pd.testing.assert_series_equal(read_rollouts(run / "rescored")["public_score"], after["public_score"])


def test_other_rules_are_not_continued(run, monkeypatch):
    with SampleStore(run / "rescored") as store:
        tasks = {task.id: task for task in [toy_task(run / "task")]}
        rules._check_rules(store, tasks, {"a": 1})
        rules._check_rules(store, tasks, {"a": 1})
        with pytest.raises(ConfigError, match="other settings"):
            rules._check_rules(store, tasks, {"a": 2})
        monkeypatch.setattr(rules, "rules_digest", lambda: "changed")
        with pytest.raises(ConfigError, match="other rules"):
            rules._check_rules(store, tasks, {"a": 1})
        monkeypatch.undo()
        answers = tasks["toy"].private_dir / "answers.csv"
        answers.write_text(answers.read_text().replace("public", "private", 1))
        with pytest.raises(ConfigError, match="other tasks"):
            rules._check_rules(store, tasks, {"a": 1})


def test_rewards_alone_run_nothing(run, tmp_path, capsys, monkeypatch):
    replaced, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (replaced.append(Path(new).name), replace(old, new)))
    out = tmp_path / "milder"
    flags = ["--reward_only", "true", "--failure_reward", "-5", "--output_dir", str(out)]
    assert rescore.main([str(run), *flags]) == 0
    after = read_rollouts(out)
    assert list(after["mle_reward"]) == pytest.approx([0.5, -5.0, 0.5, -5.0])
    assert not (out / "samples.sqlite").exists()
    assert {"rescore.json", "config.yaml"} <= set(replaced)  # each is whole at any moment
    assert yaml.safe_load((out / "config.yaml").read_text())["mle"]["failure_reward"] == -5.0
    assert rescore.main([str(run), *flags]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Give the `output_dir` of a run first"),
        (["no/such"], "no config.yaml of a run"),
        (["RUN", "--output_dir", "RUN"], "the run itself"),
        (["RUN", "--output_dir", "OTHER"], "holds the rollouts of a run"),
        (["RUN", "--rewardx", "1"], "`--rewardx` is not a flag"),
        (["RUN", "--tasks", "builtin:digits", "--reward_only", "true"], "'toy', which is none of"),
    ],
)
def test_user_errors(run, tmp_path, arguments, message, capsys):
    (tmp_path / "other" / "rollouts").mkdir(parents=True)
    places = {"RUN": str(run), "OTHER": str(tmp_path / "other")}
    with pytest.raises(SystemExit) as caught:
        rescore.main([places.get(argument, argument) for argument in arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_agents_are_refused(run):
    rollouts = read_rollouts(run).assign(turns="[]")
    with pytest.raises(ConfigError, match="are those of agents"):
        rules.scorable_rows(rollouts)
    with pytest.raises(ConfigError, match="nothing to score again"):
        rules.scorable_rows(rollouts.drop(columns="kind"))


def test_changes():
    before = [outcome(VALID), outcome(BROKEN), outcome(TALK)]
    after = [
        outcome(VALID, kind="timeout", reward=-10.0, duration_s=4.0, public=None),
        before[1],
        outcome(TALK, reward=-9.0),
    ]
    found = rules.changes(before, after)
    assert found.kinds == {"valid -> timeout": 1, "failure -> failure": 2}
    assert (found.reward_changed, found.public_changed, found.duration_ratio) == (2, 0, 2.5)
