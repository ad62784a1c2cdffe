"""Which checkpoint a run resumes from: the newest whole one. Damage is made by hand, on files as transformers saves them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from trl_mle.errors import ConfigError
from trl_mle.scripts.checkpoints import find_damage, resume_from
from trl_mle.training.collapse.rollback import move_aside


def save_checkpoint(output_dir, step, adapter=False):
    folder = output_dir / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"weight": torch.ones(9)}, folder / f"{'adapter_model' if adapter else 'model'}.safetensors")
    (folder / f"{'adapter_' if adapter else ''}config.json").write_text("{}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"state": torch.ones(9)}, folder / name)
    torch.save({"micro_steps": {"step": step}}, folder / "trainer_parts_0.pt")
    (folder / "resume.json").write_text(json.dumps({"processes": 1, "files": ["trainer_parts_0.pt", "rng_state.pth"]}))
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return folder


def settings(folder, value="true", process=0):
    return SimpleNamespace(output_dir=str(folder), resume_from_checkpoint=value, process_index=process)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


DAMAGE = {
    "no state": lambda folder: (folder / "trainer_state.json").unlink(),
    "empty state": lambda folder: (folder / "trainer_state.json").write_text(""),
    "half a state": lambda folder: (folder / "trainer_state.json").write_text('{"global_step": 3'),
    "other state": lambda folder: (folder / "trainer_state.json").write_text("[]"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "half the weights": lambda folder: cut(folder / "model.safetensors"),
    "empty weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no optimizer": lambda folder: (folder / "optimizer.pt").unlink(),
    "half an optimizer": lambda folder: cut(folder / "optimizer.pt"),
    "empty scheduler": lambda folder: (folder / "scheduler.pt").write_bytes(b""),
    "half a random state": lambda folder: cut(folder / "rng_state.pth"),
    "no random state": lambda folder: (folder / "rng_state.pth").unlink(),
    "no state of the parts": lambda folder: (folder / "trainer_parts_0.pt").unlink(),
    "half a state of the parts": lambda folder: cut(folder / "trainer_parts_0.pt"),
    "half a manifest": lambda folder: (folder / "resume.json").write_text('{"files": ["trai'),
    "another manifest": lambda folder: (folder / "resume.json").write_text('{"files": [{"a": 5}]}'),
    "a manifest of no names": lambda folder: (folder / "resume.json").write_text("[]"),
    "half a config": lambda folder: (folder / "config.json").write_text("{"),
    "a missing shard": lambda folder: (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
    ),
    "half an index": lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight'),
    **{
        f"an index with {value}": lambda folder, value=value: (folder / "model.safetensors.index.json").write_text(
            value
        )
        for value in (
            '{"weight_map": null}',
            '{"weight_map": []}',
            '{"weight_map": {"a": 5}}',
            '{"weight_map": {"a": ["b"]}}',
            "5",
        )
    },
    "a deep state": lambda folder: (folder / "trainer_state.json").write_text("[" * 100_000),
    "a step of text": lambda folder: (folder / "trainer_state.json").write_text('{"global_step": "3"}'),
    "bytes for DeepSpeed's folder": lambda folder: (folder / "latest").write_bytes(b"\xff"),
    "an index of a list": lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": []}'),
    "an index of numbers": lambda folder: (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": 1}}'
    ),
    "DeepSpeed's name of no text": lambda folder: (folder / "latest").write_bytes(b"\xff\xfe"),
    "DeepSpeed's name with a zero": lambda folder: (folder / "latest").write_bytes(b"a\0b"),
    "DeepSpeed's folder is gone": lambda folder: (folder / "latest").write_text("global_step3"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_newest_whole_checkpoint_is_taken_and_the_damaged_one_named(tmp_path, capsys, damage):
    whole, newest = save_checkpoint(tmp_path, 9), save_checkpoint(tmp_path, 10)
    assert resume_from(settings(tmp_path)) == str(newest)
    DAMAGE[damage](newest)
    assert resume_from(settings(tmp_path), warn=True) == str(whole)
    assert "checkpoint-10: " in capsys.readouterr().err
    assert resume_from(settings(tmp_path, process=1), warn=True) == str(whole), "on every process"
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match="no whole checkpoint"):
        resume_from(settings(tmp_path, str(newest)))


def test_without_a_whole_checkpoint_the_error_says_what_is_wrong(tmp_path):
    (tmp_path / "checkpoint-abc").mkdir()
    (tmp_path / "checkpoint-8").write_text("a file")
    with pytest.raises(ConfigError, match="has no checkpoint"):
        resume_from(settings(tmp_path))
    (save_checkpoint(tmp_path, 3) / "trainer_state.json").unlink()
    with pytest.raises(ConfigError, match=r"no checkpoint is whole.*trainer_state.json is missing"):
        resume_from(settings(tmp_path))
    with pytest.raises(ConfigError, match="no such folder"):
        resume_from(settings(tmp_path, "nowhere"))
    with pytest.raises(ConfigError, match="no such folder"):
        resume_from(settings(tmp_path, "n" * 5000))
    with pytest.raises(ConfigError, match="no checkpoint is whole"):
        resume_from(settings(tmp_path, " True "))
    assert resume_from(settings(tmp_path, "false")) is None


def test_auto_starts_a_run_and_continues_it(tmp_path, capsys):
    assert resume_from(settings(tmp_path, "auto"), warn=True) is None
    assert capsys.readouterr().err == ""
    folder = save_checkpoint(tmp_path, 3)
    assert resume_from(settings(tmp_path, " Auto "), warn=True) == str(folder)
    (folder / "trainer_state.json").unlink()
    assert resume_from(settings(tmp_path, "auto"), warn=True) is None
    assert "starts afresh" in capsys.readouterr().err


def test_a_checkpoint_that_a_rollback_has_left_behind_is_not_resumed_from(tmp_path):
    (folder,) = move_aside([save_checkpoint(tmp_path, 6)])
    assert resume_from(settings(tmp_path, "auto")) is None
    with pytest.raises(ConfigError, match="of a policy that has collapsed"):
        resume_from(settings(tmp_path, str(folder)))


def test_adapters_and_checkpoints_of_the_model_alone_are_whole(tmp_path):
    folder = save_checkpoint(tmp_path, 3, adapter=True)
    assert find_damage(folder) is None
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "resume.json"):
        (folder / name).unlink()
    assert find_damage(folder) is None


@pytest.mark.parametrize("content", [b"", b"PK cut off"])
def test_completions_in_flight_are_no_part_of_a_whole_checkpoint(tmp_path, content):
    folder = save_checkpoint(tmp_path, 3)
    (folder / "in_flight_0.pt").write_bytes(content)
    assert find_damage(folder) is None
