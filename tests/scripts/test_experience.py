"""Self-improvement by settings: a run begins with another's experience, shows it, and keeps its own."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from tests.support.improvement_runs import outcome_of
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_model, tiny_tokenizer
from trl_mle.config import ExperienceConfig
from trl_mle.experience import ExperienceStore
from trl_mle.scripts import grpo
from trl_mle.scripts.build import PreparedRun
from trl_mle.scripts.experience import check_experience, open_store


@pytest.fixture
def earlier(tmp_path):
    """The folder of a run with one valid solution in its store."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    store = ExperienceStore(folder / "experience.sqlite")
    store.add(outcome_of("a valid text"))
    store.add(outcome_of("1"))
    store.close()
    return folder


@pytest.fixture
def flags(tmp_path):
    """Settings of a small run whose policy has room for prompts."""
    policy = tmp_path / "policy"
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    tokenizer.save_pretrained(policy)
    model = tiny_model()
    model.config.max_position_embeddings = 8192
    model.save_pretrained(policy)
    settings = {
        "tasks": toy_task(tmp_path).folder, "model_name_or_path": policy, "output_dir": tmp_path / "run",
        "use_cpu": "true", "bf16": "false", "gradient_checkpointing": "false", "report_to": "none",
        "max_steps": 4, "per_device_train_batch_size": 2, "num_generations": 2, "max_completion_length": 4,
        "save_strategy": "steps", "save_steps": 2, "logging_steps": 1, "sandbox_workers": 1, "validate_tasks": "false",
        "improve_fraction": 0.5, "max_prompt_tokens": 8000,
    }  # fmt: skip

    def make(**changes):
        return [text for name, value in {**settings, **changes}.items() for text in (f"--{name}", str(value))]

    return make


def rollouts(folder):
    return pd.concat([pd.read_parquet(path) for path in sorted((folder / "rollouts").glob("train_*.parquet"))])


def fails(capsys, flags):
    with pytest.raises(SystemExit) as caught:
        grpo.main(flags)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.slow
def test_a_run_begins_with_the_experience_of_another_and_is_resumed(capsys, tmp_path, flags, earlier):
    run = tmp_path / "run"
    assert grpo.main(flags(experience_from=earlier)) == 0
    shown = capsys.readouterr()
    assert "The run begins with 2 earlier outcomes" in shown.err
    assert "Self-improvement: 50% of the completions were shown an earlier solution" in shown.out.replace("\n", " ")
    table = rollouts(run)
    assert list(table["prompt_kind"]) == ["scratch"] * 2 + ["improve"] * 2 + ["scratch"] * 2 + ["improve"] * 2
    improving = table[table["prompt_kind"] == "improve"]
    assert set(improving["lineage_depth"]) == {1}
    assert improving["parent_score"].notna().all()
    assert "Ridge(alpha=" in improving["prompt"].iloc[0][-1]["content"]
    store = ExperienceStore(run / "experience.sqlite")
    assert len(store) == 2 + 8
    store.close()

    assert grpo.main(flags(experience_from=earlier, resume_from_checkpoint=run / "checkpoint-2")) == 0
    assert "The run begins" not in capsys.readouterr().err, "a resumed run has begun already"
    columns = ["step", "completion", "prompt_kind", "parent_score", "mle_reward"]
    pd.testing.assert_frame_equal(rollouts(run)[columns], table[columns])
    asked = [[prompt[-1]["content"] for prompt in rows["prompt"]] for rows in (rollouts(run), table)]
    assert asked[0] == asked[1]
    store = ExperienceStore(run / "experience.sqlite")
    assert len(store) == 2 + 8
    store.close()


def test_experience_of_other_tasks_is_no_beginning(capsys, tmp_path, flags):
    folder = tmp_path / "other"
    folder.mkdir()
    store = ExperienceStore(folder / "experience.sqlite")
    store.add(outcome_of("a valid text", task_id="other"))
    store.close()
    shown = fails(capsys, flags(experience_from=folder))
    assert "holds no experience of toy; it has those of other" in shown
    assert not list((tmp_path / "run").glob("experience*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experience_from": "nowhere"}, "`experience_from` is 'nowhere', which does not exist"),
        ({"max_prompt_tokens": 8190}, "Lower `max_prompt_tokens` to 8188 or less"),
        ({"max_prompt_tokens": 20}, "but prompts may have 20"),
        ({"improve_fraction": 2}, "`improve_fraction` is 2.0; it must be a number from 0 to 1"),
        ({"parent_strategy": "best"}, "`parent_strategy` is 'best'"),
        ({"retrieved_examples": 1}, "examples are solutions of other tasks. Name some in `retrieved_tasks`"),
    ],
    ids=str,
)
def test_wrong_settings_are_one_line(capsys, flags, changes, words):
    shown = fails(capsys, flags(**changes))
    assert words in shown.strip().splitlines()[-1]
    assert "Traceback" not in shown


def test_the_experience_of_retrieved_tasks_is_taken_too(tmp_path, earlier, new_run):
    with closing(ExperienceStore(earlier / "experience.sqlite")) as store:
        for task_id in ("other", "third"):
            store.add(outcome_of("a valid text", task_id=task_id))
    config = ExperienceConfig(retrieved_examples=1, retrieved_tasks=["other"], experience_from=str(earlier))
    run = replace(new_run, tasks={"toy": SimpleNamespace(id="toy")})
    with closing(open_store(config, run, others={"other": SimpleNamespace(id="other")})) as store:
        assert {summary.task_id for summary in store.tasks()} == {"toy", "other"}


def test_experience_in_the_folder_that_is_moved_aside(capsys, tmp_path, flags, earlier):
    assert "which a new run moves aside" in fails(capsys, flags(output_dir=tmp_path, experience_from=earlier))
    assert (earlier / "experience.sqlite").exists()


def test_a_store_elsewhere_is_not_taken_for_that_of_a_new_run(capsys, flags, earlier):
    shown = fails(capsys, flags(experience_path=earlier / "experience.sqlite"))
    assert "holds the store of an earlier run" in shown


@pytest.fixture
def new_run(tmp_path):
    """A run that starts from no checkpoint."""
    return PreparedRun(tmp_path / "run", None, None, {}, {})


def test_a_store_that_holds_nothing_is_that_of_a_start_that_failed(tmp_path, new_run):
    config = ExperienceConfig(improve_fraction=0.5, experience_path=str(tmp_path / "store.sqlite"))
    open_store(config, new_run).close()
    with closing(open_store(config, new_run)) as store:
        assert len(store) == 0


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(tmp_path, new_run):
    """Its folder is moved aside, and so is a store elsewhere: the same command must not fail for ever."""
    path = tmp_path / "store.sqlite"
    config = ExperienceConfig(improve_fraction=0.5, experience_path=str(path))
    with closing(open_store(config, new_run, is_restart=True)) as store:
        store.add(outcome_of("a valid text"))
        for suffix in ("", "-wal", "-shm"):  # as `kill -9` leaves it
            shutil.copy(f"{path}{suffix}", tmp_path / f"killed{suffix}")
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"killed{suffix}").rename(f"{path}{suffix}")
    with closing(open_store(config, new_run, is_restart=True)) as store:
        assert len(store) == 0
    (aside,) = (name for name in tmp_path.glob("store.sqlite-*") if not name.name.endswith(("-wal", "-shm")))
    with closing(ExperienceStore(aside)) as store:
        assert len(store) == 1


@pytest.mark.slow
def test_a_store_that_was_lost_is_named_when_the_run_is_resumed(capsys, tmp_path, flags):
    assert grpo.main(flags(max_steps=2)) == 0
    for path in (tmp_path / "run").glob("experience.sqlite*"):
        path.unlink()
    capsys.readouterr()
    assert "experience" in fails(capsys, flags(resume_from_checkpoint="true"))


@pytest.mark.slow
def test_a_run_without_self_improvement_has_no_store(tmp_path, flags):
    assert grpo.main(flags(improve_fraction=0, max_steps=1, save_strategy="no")) == 0
    assert not (tmp_path / "run" / "experience.sqlite").exists()
    assert "prompt_kind" not in rollouts(tmp_path / "run")


def test_experience_that_no_prompt_shows_is_told(capsys, earlier):
    config = ExperienceConfig(experience_from=str(earlier))
    check_experience(SimpleNamespace(experience_config=lambda: config), SimpleNamespace(process_index=0))
    assert "has no effect: no prompt shows an earlier solution. Set `improve_fraction`" in capsys.readouterr().err
