"""A program of a competition of MLE-bench in the sandbox: what it reaches, and what it is worth."""

import json

import pandas as pd
import pytest

from tests.support.mlebench_data import conductors
from trl_mle.config import RewardConfig
from trl_mle.outcomes import from_row, stored, to_row
from trl_mle.rewards import ProgramScorer
from trl_mle.rewards.score_transform import transform_score
from trl_mle.sandboxes import LocalSandbox
from trl_mle.tasks import load_task

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

PROGRAM = """
import json, os
import pandas as pd

test = pd.read_csv("input/test.csv")
atoms = [open(f"input/test/{id_}/geometry.xyz").read() for id_ in test["id"]]
assert all(text.startswith("atom") for text in atoms)
train = pd.read_csv("input/train.csv")
columns = ["formation_energy_ev_natom", "bandgap_energy_ev"]
test[["id"]].assign(**{c: train[c].median() for c in columns}).sample(frac=1, random_state=0).to_csv("submission.csv", index=False)
reached = []
for path in PATHS:
    try:
        reached.append(open(path).read(20))
    except OSError:
        pass
print(json.dumps(reached))
"""


async def test_a_program_is_graded_and_reaches_no_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("MLEBENCH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TRL_MLE_CACHE", str(tmp_path / "cache"))
    conductors(tmp_path / "data")
    task = load_task("mlebench:nomad2018-predict-transparent-conductors")
    original = tmp_path / "data" / task.grader_options["competition"] / "prepared" / "private" / "test.csv"
    hidden = [*map(str, task.private_dir.iterdir()), str(original)]
    assert all(pd.read_csv(path).size for path in hidden)
    assert task.train_file == "train.csv"
    code = PROGRAM.replace("PATHS", repr([*hidden, "input/../private/test.csv", "input/private/test.csv"]))
    outcomes = {}
    for split in ("public", "all"):
        async with ProgramScorer(LocalSandbox(workers=1), reward=RewardConfig(reward_split=split)) as scorer:
            outcomes[split] = await scorer.score(f"Medians.\n```python\n{code}\n```", task)
    for split, outcome in outcomes.items():
        assert outcome.kind == "valid", outcome
        assert json.loads(outcome.execution.stdout.strip().splitlines()[-1]) == []
        assert outcome.public == task.grade(outcome.execution.submission, split)
        assert outcome.private == task.grade(outcome.execution.submission, "private")
        assert (outcome.public.medal, outcome.public.above_median) == (None, False)
        assert outcome.reward == transform_score(outcome.public.score, "minimize", task.transform)
        assert from_row(to_row(outcome)) == stored(outcome)
    assert outcomes["public"].public.score != outcomes["all"].public.score
