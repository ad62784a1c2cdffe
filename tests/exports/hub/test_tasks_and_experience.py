"""Tasks and experience on the Hub and back, by the real client, and cards that the Hub accepts."""

from __future__ import annotations

import pandas as pd
import pytest
from huggingface_hub import DatasetCard, HfApi

from tests.support.html_pages import lineage_run
from tests.support.hub_server import TOKEN
from tests.support.tasks import toy_task
from trl_mle.experience import STORE_FILE, ExperienceStore
from trl_mle.tasks.hub import pull_tasks, push_tasks


@pytest.mark.parametrize("answers", [True, False])
def test_a_task_comes_back(hub, tmp_path, answers):
    task = toy_task(tmp_path / "here")
    push_tasks([task], "me/tasks", answers=answers, license="cc0-1.0")
    (pulled,) = pull_tasks("me/tasks", tmp_path / "there")
    assert (
        pulled.folder is not None
        and (pulled.folder / "task.yaml").read_text() == (task.folder / "task.yaml").read_text()
    )
    assert (pulled.folder / "private/answers.csv").exists() == answers
    card = DatasetCard.load("me/tasks")
    card.validate()
    assert card.data.license == "cc0-1.0" and TOKEN not in str(card)


def test_experience_comes_back(hub, tmp_path):
    run = lineage_run(tmp_path / "run")
    with ExperienceStore(run / STORE_FILE) as store:
        store.push_to_hub("me/experience")
        expected = [(entry.outcome.program, entry.parent_id) for entry in store]
    card = DatasetCard.load("me/experience")
    card.validate()
    assert TOKEN not in str(card)
    snapshot = HfApi().snapshot_download("me/experience", repo_type="dataset")
    with ExperienceStore(tmp_path / "other.sqlite") as other:
        assert other.import_from("hub:me/experience") == 3
        assert [(entry.outcome.program, entry.parent_id) for entry in other] == expected
    assert len(pd.read_parquet(f"{snapshot}/experience.parquet")) == 3
