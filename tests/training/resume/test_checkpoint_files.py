"""The files of a checkpoint: written before the state that makes it whole, told apart, and their errors in words."""

from __future__ import annotations

import errno
import json
import logging
import shutil

import pytest
import torch
from safetensors import SafetensorError
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from trl import GRPOTrainer

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from tests.support.training_runs import letters
from tests.training.resume.test_micro_steps import make, rollouts
from trl_mle import DurationAwareTrainer
from trl_mle.errors import CheckpointError
from trl_mle.scripts.checkpoints import find_damage
from trl_mle.training.resume.unrepeatable import unrepeatable
from trl_mle.training.resume.writing import disk_errors


class Looking(TrainerCallback, ExportableState):
    """Its state is asked for right before `trainer_state.json` is written."""

    def __init__(self, folder=None):
        self.folder, self.seen = folder, []

    def state(self):
        if self.folder is not None:
            self.seen.append({path.name for path in self.folder.glob("checkpoint-*/*")})
        return {"args": {}, "attributes": {}}


def test_the_files_are_there_before_the_state_that_makes_a_checkpoint_whole(tmp_path):
    looking = Looking(tmp_path)
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1/trainer_state.json").write_text("of an earlier run")
    trainer = make(tmp_path, [looking], max_steps=1, overlap_execution=True)
    trainer.train()
    seen = looking.seen[-1]
    needed = set(json.loads((tmp_path / "checkpoint-1/resume.json").read_text())["files"])
    assert needed == {"trainer_parts_0.pt", "rng_state.pth"}
    assert {*needed, "in_flight_0.pt", "model.safetensors", "optimizer.pt"} <= seen
    assert "trainer_state.json" not in seen, "half a checkpoint looked whole"
    assert find_damage(tmp_path / "checkpoint-1") is None


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint after 3 of the 4 steps on a generation batch."""
    folder = tmp_path_factory.mktemp("short")
    make(folder, max_steps=3, save_steps=3).train()
    return folder


def resume(tmp_path, checkpoint, **changes):
    shutil.copytree(checkpoint, tmp_path / "run")
    trainer = make(tmp_path / "run", max_steps=5, save_strategy="no", **changes)
    trainer.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-3"))
    return trainer


def test_another_layout_begins_with_a_new_batch_and_says_so(tmp_path, checkpoint, caplog):
    trainer = resume(tmp_path, checkpoint, num_iterations=1)
    assert "does not fit: `num_iterations` is 1 and was 2." in caplog.text
    assert trainer._step == 4
    assert {"train_000000_00.parquet", "train_000003_00.parquet"} <= rollouts(tmp_path / "run").keys()


@pytest.mark.parametrize(("setting", "now"), [("beta above 0", False), ("correction of vLLM", False), ("process", 0)])
def test_completions_of_another_process_or_without_log_probabilities_are_not_kept(
    tmp_path, checkpoint, caplog, setting, now
):
    shutil.copytree(checkpoint, tmp_path / "other")
    path = tmp_path / "other/checkpoint-3/trainer_parts_0.pt"
    state = torch.load(path, weights_only=True)
    state["micro_steps"]["layout"][setting] = True
    torch.save(state, path)
    trainer = resume(tmp_path, tmp_path / "other")
    assert f"does not fit: `{setting}` is {now} and was True." in caplog.text
    assert trainer.state.global_step == 5


def test_another_number_of_processes_is_told(tmp_path, checkpoint, caplog):
    shutil.copytree(checkpoint, tmp_path / "of_two")
    path = tmp_path / "of_two/checkpoint-3/trainer_parts_0.pt"
    state = torch.load(path, weights_only=True)
    state["micro_steps"]["layout"]["processes"] = 2
    torch.save(state, path)
    resume(tmp_path, tmp_path / "of_two")
    assert "does not fit: `processes` is 1 and was 2." in caplog.text


def test_a_checkpoint_of_trls_trainer_is_resumed_as_trl_does(tmp_path, caplog):
    from trl import GRPOConfig

    def trainer(trainer_class, args):
        return trainer_class(
            model=tiny_model(),
            reward_funcs=letters,
            args=args,
            train_dataset=tiny_dataset(),
            processing_class=tiny_tokenizer(),
        )

    settings = {"num_iterations": 2, "max_steps": 3, "save_strategy": "steps", "save_steps": 3}
    trainer(GRPOTrainer, tiny_args(tmp_path, GRPOConfig, **settings)).train()
    settings |= {"max_steps": 4, "save_strategy": "no", "duration_weighting": "none"}
    resumed = trainer(DurationAwareTrainer, tiny_args(tmp_path, **settings))
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert resumed.state.global_step == 4
    assert "its files do not hold the place within the generation batch" in caplog.text


def test_what_cannot_be_repeated_is_said_at_the_resume_alone(tmp_path, checkpoint, caplog):
    caplog.set_level(logging.WARNING)
    trainer = resume(tmp_path, checkpoint, ignore_data_skip=True)
    assert "does not repeat the uninterrupted one to the bit. `ignore_data_skip`" in caplog.text
    caplog.clear()
    trainer = make(tmp_path / "new", max_steps=1, overlap_execution=True)
    assert not [record for record in caplog.records if "repeat" in record.getMessage()]
    assert ["`overlap_execution`" in reason for reason in unrepeatable(trainer)] == [True]
    trainer.args.overlap_order = "launched"
    assert unrepeatable(trainer) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_an_infrastructure_fault_that_says_so(tmp_path, error):
    with pytest.raises(CheckpointError, match=r"MiB are free there.*Make room") as raised, disk_errors(tmp_path / "c"):
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), ConnectionError("the hub"), ValueError("x")])
def test_other_errors_are_left_alone(tmp_path, error):
    with pytest.raises(type(error)) as raised, disk_errors(tmp_path):
        raise error
    assert raised.value is error


def test_a_disk_that_is_full_leaves_the_earlier_checkpoint_whole(tmp_path, checkpoint, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    shutil.copytree(checkpoint, tmp_path / "run")
    trainer = make(tmp_path / "run", max_steps=5, save_total_limit=1)
    monkeypatch.setattr(trainer, "_save_scaler", full)
    with pytest.raises(CheckpointError, match="checkpoint-5 could not be written"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-3"))
    assert find_damage(tmp_path / "run/checkpoint-3") is None
    assert find_damage(tmp_path / "run/checkpoint-5") == "trainer_state.json is missing"


def test_rollouts_and_a_log_on_a_full_disk_are_infrastructure_faults(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer = make(tmp_path / "run", max_steps=1, save_strategy="no")
    with monkeypatch.context() as patch:
        patch.setattr("trl_mle.training.rollout_writer.write_table", full)
        with pytest.raises(CheckpointError, match=r"file of rollouts .*train_000000_00.parquet could not be written"):
            trainer.train()
    monkeypatch.setattr("trl_mle.scripts.run_dir.json.dumps", full)
    with pytest.raises(CheckpointError, match=r"The log .*metrics.jsonl could not be written"):
        trainer.train()
