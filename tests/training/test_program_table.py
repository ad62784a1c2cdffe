"""The table of a batch's best and worst programs: which rows it has, and that trackers get it from a real run."""

from __future__ import annotations

import importlib.util
import json
import math
from uuid import uuid4

import pytest

from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer
from trl_mle.training.program_table import NAME, TEXT_CHARACTERS, as_markdown, best_and_worst


def columns(programs: list[str | None], **more: list) -> dict[str, list]:
    count = len(programs)
    return {"step": [3] * count, "completion": ["text"] * count, "program": programs, **more}


def test_best_come_first_and_worst_last_and_nothing_twice():
    names = ["a", "b", "c", "d", "e", "e", "f"]
    rows = best_and_worst(columns(names), [0.0, 5.0, math.nan, 1.0, -1.0, -1.0, -2.0], 2)
    assert [(row["program"], row["reward"]) for row in rows] == [("b", 5.0), ("d", 1.0), ("e", -1.0), ("f", -2.0)]
    assert [row["program"] for row in best_and_worst(columns(["a", "b"]), [1.0, 2.0], 4)] == ["b", "a"]
    assert best_and_worst(columns(["a"]), [math.nan], 4) == []


def test_cells_are_short():
    texts = {"stderr": ["x" * 10_000 + "KeyError"], "milestones": [["loaded_data", "trained_model"]]}
    (row,) = best_and_worst(columns(["p" * 10_000], **texts), [1.0], 1)
    assert len(row["program"]) == len(row["stderr"]) == TEXT_CHARACTERS and row["stderr"].endswith("KeyError")
    assert row["milestones"] == 2


def test_without_programs_completions_are_shown():
    (row,) = best_and_worst({"step": [0], "completion": [[{"role": "assistant", "content": "hi"}]]}, [1.0], 1)
    assert "hi" in row["completion"]


def test_markdown_of_programs_is_code():
    (row,) = best_and_worst(columns(["x = 1\n# heading\n<b>"]), [1.0], 1)
    assert all(line.startswith("    ") for line in as_markdown([row]).splitlines() if line and line != "---")


def reward(completions, log_extra, **kwargs):
    log_extra("action_duration", [1.0] * len(completions))
    log_extra("program", [f"print({place})\nprint('done')" for place in range(len(completions))])
    # The first one is an infrastructure fault.
    return [None, *(float(place) for place in range(1, len(completions)))]


def trained(folder, tracker: str, **settings):
    args = tiny_args(folder, max_steps=2, logging_steps=1, report_to=tracker, **settings)
    trainer = DurationAwareTrainer(
        tiny_model(), reward, args, train_dataset=tiny_dataset(), processing_class=tiny_tokenizer()
    )
    trainer.train()
    return trainer


def test_tensorboard_gets_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "log"))
    trained(tmp_path / "run", "tensorboard", logged_programs=1)
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    loaded = events.EventAccumulator(str(tmp_path / "log"))
    loaded.Reload()
    sent = loaded.Tensors(f"{NAME}/text_summary")
    assert [event.step for event in sent] == [1, 2]
    text = sent[0].tensor_proto.string_val[0].decode()
    assert text.count("print('done')") == 2 and "reward 1" in text


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_gets_the_table(tmp_path, monkeypatch):
    from trackio.sqlite_storage import SQLiteStorage

    project = f"tables-{uuid4().hex}"  # trackio reads the place of its database when it is imported
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    try:
        trained(tmp_path / "run", "trackio", logged_programs=1, run_name="tiny", project=project)
        logs = [entry for run in SQLiteStorage.get_runs(project) for entry in SQLiteStorage.get_logs(project, run)]
    finally:
        SQLiteStorage.get_project_db_path(project).unlink(missing_ok=True)
    tables = [entry[NAME] for entry in logs if NAME in entry]
    assert len(tables) == 2 and "print(7)" in json.dumps(tables[0], default=str)


def test_none_is_sent_if_none_is_asked_for(tmp_path):
    trainer = trained(tmp_path / "run", "none", logged_programs=0)
    assert not any("SendTable" in type(callback).__name__ for callback in trainer.callback_handler.callbacks)


def test_a_tracker_that_fails_does_not_end_the_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "log"))

    def broken(*args):
        raise RuntimeError("no space")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_text", _only_table(broken))
    trainer = trained(tmp_path / "run", "tensorboard")
    assert trainer.state.global_step == 2
    assert sum("cannot be logged" in record.message for record in caplog.records) == 1


def _only_table(broken):
    from torch.utils.tensorboard import SummaryWriter

    whole = SummaryWriter.add_text

    def add_text(self, tag, *args, **kwargs):
        return broken() if tag == NAME else whole(self, tag, *args, **kwargs)

    return add_text
