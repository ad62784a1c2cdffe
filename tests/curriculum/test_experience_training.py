"""Self-improvement within a training: what was asked is in the rollouts, and a resumed run asks the same."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.support.improvement_runs import outcome_of
from tests.support.metrics_page import logged, undocumented
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_args, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer, ExperienceStore, prompts_dataset
from trl_mle.config import ExperienceConfig
from trl_mle.curriculum import ExperiencePrompts
from trl_mle.rewards.records import prompt_columns, rollout_columns


async def mle_reward(completions, log_extra, **kwargs):
    """What `MLEReward` logs, of outcomes that follow from the text of the completion."""
    outcomes = [outcome_of(completion[0]["content"]) for completion in completions]
    for name, values in {**rollout_columns(outcomes), **prompt_columns(kwargs)}.items():
        log_extra(name, values)
    return [outcome.reward for outcome in outcomes]


def train(folder, task, resume=None, **changes):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content[-120:] }}\n{% endfor %}"
    folder.mkdir(exist_ok=True)
    store = ExperienceStore(folder / "experience.sqlite")
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=mle_reward,
        args=tiny_args(folder, max_steps=6, save_strategy="steps", save_steps=3, **changes),
        train_dataset=prompts_dataset({"toy": task}, prompts=2),
        processing_class=tokenizer,
        group_prompts=ExperiencePrompts(
            {"toy": task}, store, ExperienceConfig(improve_fraction=0.5, parent_strategy="latest"), seed=7
        ),
    )
    trainer.train(resume_from_checkpoint=resume)
    files = sorted((folder / "rollouts").glob("train_*.parquet"))
    return trainer, store, pd.concat([pd.read_parquet(path) for path in files], ignore_index=True)


@pytest.fixture
def task(tmp_path):
    return toy_task(tmp_path)


def test_a_training_and_the_same_training_resumed(tmp_path, task):
    trainer, store, table = train(tmp_path / "run", task)
    assert len(store) == len(table) == 6 * 8
    improving = table[table["prompt_kind"] == "improve"]
    assert sorted(set(improving["step"])) == [1, 2, 3, 4, 5]
    for _, group in improving.groupby("step"):
        assert len(group) == 4
        assert group["parent_id"].nunique() == group["parent_score"].nunique() == 1
    assert set(table["lineage_depth"]) > {0, 1}
    stored = list(store)
    assert [e.prompt_kind for e in stored] == list(table["prompt_kind"])
    assert [e.depth for e in stored] == list(table["lineage_depth"])
    last = trainer.state.log_history[-2]
    assert last["improve/prompt_share"] == 0.5
    assert last["improve/store_size"] == 48
    assert undocumented(logged(trainer)) == set()
    store.close()

    _, store, again = train(tmp_path / "run", task, resume=str(tmp_path / "run/checkpoint-3"))
    columns = ["step", "completion", "prompt_kind", "parent_score", "lineage_depth", "advantage", "duration_weight"]
    pd.testing.assert_frame_equal(again[columns], table[columns])
    assert len(store) == 48


def test_completions_that_overlap_keep_what_their_prompt_showed(tmp_path, task):
    _, store, table = train(tmp_path / "run", task, overlap_execution=True, overlap_batches=1)
    assert set(table["generated_at_step"]) != set(table["step"])
    assert set(table["prompt_kind"]) == {"scratch", "improve"}
    for experience, (_, row) in zip(store, table.iterrows(), strict=True):
        assert (experience.step, experience.depth) == (row["generated_at_step"], row["lineage_depth"])
        if experience.parent_id is not None:
            parent = store.get(experience.parent_id)
            assert parent.outcome.reward_parts["score"] == row["parent_score"]
            assert parent.step <= experience.step
