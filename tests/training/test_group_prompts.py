"""The prompts of groups are chosen once for all, and what the chooser learns survives in a checkpoint."""

from __future__ import annotations

import pandas as pd
import pytest

from tests.support.group_prompts import Chooser
from tests.support.launching import launch_well
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer
from trl_mle.errors import ConfigError
from trl_mle.training.group_prompts import _checked


def reward(completions, place=None, log_extra=None, **kwargs):
    log_extra("action_duration", [1.0 + len(text) for text in completions])
    log_extra("place", place)
    return [float(sum(map(ord, text)) % 17) for text in completions]


def trainer(folder, chooser, **changes):
    return DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=tiny_args(folder, **changes),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        group_prompts=chooser,
    )


def rollouts(folder):
    return pd.concat([pd.read_parquet(path) for path in sorted((folder / "rollouts").glob("train_*.parquet"))])


def prompts_of(generations, groups=2, size=4):
    return [f"batch {batch} group {group}: " for batch in generations for group in range(groups) for _ in range(size)]


@pytest.mark.parametrize(
    ("changes", "generations"),
    [
        ({}, 3),
        ({"num_iterations": 2, "max_steps": 4}, 2),
        ({"overlap_execution": True, "overlap_batches": 0}, 3),
        ({"overlap_execution": True, "overlap_batches": 1}, 4),
    ],
    ids=str,
)
def test_every_group_is_generated_for_the_chosen_row(tmp_path, changes, generations):
    chooser = Chooser()
    run = trainer(tmp_path, chooser, **changes)
    run.train()
    assert [generation for generation, _ in chooser.asked] == list(range(generations))
    table = rollouts(tmp_path)
    assert len(table) == 8 * len(chooser.batches)
    for _, group in table.groupby("prompt"):
        assert len(group) == 4
        assert group["place"].nunique() == 1
    assert set(table["prompt"]) <= set(prompts_of(range(generations)))
    # What is observed is what is kept.
    seen = pd.concat(
        [pd.DataFrame({"prompt": batch["prompt"], "reward": batch["reward"]}) for batch in chooser.batches]
    )
    assert list(seen["prompt"]) == list(table["prompt"])
    assert list(seen["reward"]) == list(table["reward"])
    logged = [entry["improve/batches"] for entry in run.state.log_history if "improve/batches" in entry]
    assert logged[0] == 1.0


def test_the_chooser_gets_the_rows_of_the_data_set(tmp_path):
    chooser = Chooser()
    trainer(tmp_path, chooser, max_steps=1).train()
    ((_, prompts),) = chooser.asked
    assert len(set(prompts)) == 2
    assert set(prompts) <= set(tiny_dataset()["prompt"])


def test_an_evaluation_keeps_its_own_prompts(tmp_path):
    chooser = Chooser()
    run = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=lambda completions, log_extra=None, **kwargs: reward(
            completions, [0] * len(completions), log_extra
        ),
        args=tiny_args(tmp_path),
        train_dataset=tiny_dataset(),
        eval_dataset=tiny_dataset(2),
        processing_class=tiny_tokenizer(),
        group_prompts=chooser,
    )
    run.evaluate()
    assert not chooser.asked
    assert not chooser.batches


def test_a_resumed_run_goes_on_counting(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trainer(tmp_path, Chooser(), **saving).train()
    chooser = Chooser()
    trainer(tmp_path, chooser, **saving).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert chooser.loaded == {"batches": 2}
    assert [generation for generation, _ in chooser.asked] == [2, 3]


@pytest.mark.parametrize("method", ["choose", "observe", "state_dict"])
def test_an_error_of_the_chooser_ends_training(tmp_path, method):
    with pytest.raises(RuntimeError, match=f"no {method} today"):
        trainer(tmp_path, Chooser(failing=method), save_strategy="steps", save_steps=1).train()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "p"}], "1 rows for 2 groups"),
        ([{"prompt": "p"}, {"task": "t"}], "without `prompt`; its keys are"),
        ([{"prompt": "p"}, {"prompt": "p", "task": "t"}], "same keys"),
    ],
)
def test_rows_that_cannot_be_generated_for(rows, message):
    with pytest.raises(ConfigError, match=message):
        _checked(rows, 2)


@pytest.mark.slow
def test_two_processes(tmp_path):
    """Groups lie on both processes. One launch for all scenarios."""
    launch_well("tests.support.group_prompts_two_processes", tmp_path, timeout_s=280, ACCELERATE_USE_CPU="true")
    ends = [pd.read_json(tmp_path / f"{rank}.json", typ="series") for rank in range(2)]
    table = rollouts(tmp_path / "well")
    assert sorted(table["prompt"]) == prompts_of(range(3), groups=1, size=8)
    assert [end["well"] for end in ends] == ["", ""]
    for method in ("choose", "observe", "state_dict", "load_state_dict"):
        first, second = (end[method] for end in ends)
        assert first == f"RuntimeError: no {method} today"
        assert second == f"ProcessError: Process 0 stopped. RuntimeError: no {method} today"
