"""Programs that training stood still for before it was resumed: they do not hold it up again, and slow ones are not lost."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.support.hang import HANG_S
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer, MLEReward
from trl_mle.training.overlap.in_flight import Row
from trl_mle.training.overlap.stragglers import Stragglers
from trl_mle.training.overlap.timing import OverlapTiming

SETTINGS = {"max_steps": 5, "save_strategy": "steps", "save_steps": 1, "overlap_batches": 2, "max_staleness": 2}


def row(tokens=(1, 2), age_s=0.0, running=True):
    made = Row(
        (0, 0), 0, 0, {"prompt": "p"}, [7], list(tokens), "c", None, None, [0.0], began=time.monotonic() - age_s
    )
    made.future = Future() if running else None
    return made


def slow(completions, **kwargs):
    return [0.0]


def bounded(completions, **kwargs):
    return [0.0]


bounded.has_time_limit = True


def resumed(folder) -> Stragglers:
    stragglers = Stragglers(folder, 0)
    stragglers.resume()
    return stragglers


def test_a_noted_program_gets_twice_its_seconds_and_after_two_runs_none(tmp_path):
    first = Stragglers(tmp_path, 0)
    assert first.limit(row()) is None
    first.note([row(age_s=10), row([3], age_s=1), row([4], age_s=10, running=False)], [bounded, slow], 5.0)
    second = resumed(tmp_path)
    assert second.limit(row()) == pytest.approx(20.0, rel=0.01)
    assert [second.limit(row(tokens)) for tokens in ([3], [4])] == [None, None]
    second.note([row(age_s=6)], [slow], 5.0)
    third = resumed(tmp_path)
    assert third.limit(row()) == 0.0
    third.end()
    assert resumed(tmp_path).limit(row()) is None
    assert list(tmp_path.iterdir()) == []


def test_what_has_a_result_or_a_time_limit_is_not_limited(tmp_path):
    first = Stragglers(tmp_path, 0)
    first.note([row(age_s=10)], [bounded], 5.0)
    assert list(tmp_path.iterdir()) == []
    first.note([row(age_s=10), row([3], age_s=10)], [slow], 5.0)
    first.forget([row()])
    second = resumed(tmp_path)
    assert second.limit(row()) is None
    assert second.limit(row([3])) is not None


def test_a_program_that_was_given_up_is_not_started_after_a_second_resume(tmp_path):
    Stragglers(tmp_path, 0).note([row(age_s=10)], [slow], 5.0)
    second, given_up = resumed(tmp_path), row(age_s=30)
    given_up.limit_s = second.limit(given_up)
    assert given_up.give_up_if_due()
    second.give_up([given_up])
    assert resumed(tmp_path).limit(row()) == 0.0


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"seconds": "x", "starts": 1}}', "\udc80"])
def test_damaged_notes_end_no_run(tmp_path, caplog, content):
    (tmp_path / "stragglers_0.json").write_bytes(content.encode(errors="surrogateescape"))
    Stragglers(tmp_path, 1).note([row(age_s=10)], [slow], 5.0)
    assert resumed(tmp_path).limit(row()) is not None, "the notes of other processes are read"
    assert "is damaged" in caplog.text


def test_notes_that_cannot_be_written_end_no_run(tmp_path, caplog):
    (tmp_path / "file").touch()
    Stragglers(tmp_path / "file", 0).note([row(age_s=10)], [slow], 5.0)
    assert "cannot be written" in caplog.text


def test_programs_of_tasks_have_a_time_limit():
    reward = MLEReward()
    assert all(func.has_time_limit for func in (reward, *reward.parts()))


def train(folder, reward, resume=None, **changes):
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=reward,
        args=tiny_args(folder, overlap_execution=True, **{**SETTINGS, **changes}),
        train_dataset=tiny_dataset(),
        processing_class=tiny_tokenizer(),
        overlap_timing=OverlapTiming(wait_warning_s=0.2),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


class Wedging:
    """Programs are instant, except those whose text the file holds: they never end. The first of step 2 gets into the file."""

    __name__ = "wedging"

    def __init__(self, named: Path):
        self.named = named
        self.started: list[str] = []

    async def __call__(self, completions, trainer_state, log_extra, **kwargs):
        text = completions[0]
        self.started.append(text)
        if not self.named.exists() and trainer_state.global_step == 2:
            self.named.write_text(json.dumps(text))
        if self.named.exists() and json.loads(self.named.read_text()) == text:
            await asyncio.sleep(3600)
        log_extra("action_duration", [1.0])
        return [float(sum(map(ord, text)) % 17)]


def check_resumed(folder, text, starts, caplog):
    """Resume from the newest checkpoint; the program that writes `text` is started as often as that, and given up."""
    newest = max((folder / "run").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    reward = Wedging(folder / "named")
    trainer = train(folder / "run", reward, resume=str(newest))
    assert trainer.state.global_step == 5
    assert reward.started.count(text) == starts
    files = sorted((folder / "run/rollouts").glob("train_*.parquet"))
    table = pd.concat([pd.read_parquet(path) for path in files])
    lost = table[table["given_up"].fillna(False).astype(bool)]
    assert set(lost["completion"]) == {text}
    assert lost["wedging"].isna().all() and (lost["advantage"] == 0).all()
    assert lost["action_duration"].isna().all(), "an infrastructure fault has no duration"
    assert not lost["action_censored"].any(), "nor is it lost by duration"
    assert sum(entry.get("overlap/given_up_rows") or 0 for entry in trainer.state.log_history) == len(lost)
    assert "given up as an infrastructure fault" in caplog.text
    assert not (folder / "run/stragglers_0.json").exists(), "nothing is left when training has ended"


@pytest.mark.parametrize("runs", [1, 2])
def test_a_resumed_run_gives_a_straggler_up(tmp_path, caplog, runs):
    (tmp_path / "named").write_text('""')
    train(tmp_path / "run", Wedging(tmp_path / "named"), max_steps=3)
    state = torch.load(tmp_path / "run/checkpoint-3/in_flight_0.pt", weights_only=True)
    for plain in state["rows"]:  # nothing had a result at the checkpoint
        plain |= {"rewards": None, "columns": {}, "waited_s": None}
    torch.save(state, tmp_path / "run/checkpoint-3/in_flight_0.pt")
    stuck = Row(**state["rows"][0], future=Future(), began=time.monotonic() - 0.5)
    (tmp_path / "named").write_text(json.dumps(stuck.completion))
    for _ in range(runs):
        stragglers = resumed(tmp_path / "run")
        stragglers.note([stuck], [slow], 0.0)
    check_resumed(tmp_path, stuck.completion, 2 - runs, caplog)


@pytest.mark.slow
@pytest.mark.timeout(HANG_S * 4)
def test_a_straggler_that_wedged_a_step_does_not_wedge_it_again_after_kill_9(tmp_path, caplog):
    script = (
        "import sys\nfrom pathlib import Path\nfrom tests.training.overlap.test_stragglers import Wedging, train\n"
        "folder = Path(sys.argv[1])\ntrain(folder / 'run', Wedging(folder / 'named'))"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path], cwd=Path(__file__).parents[3])
    notes, named = tmp_path / "run/stragglers_0.json", tmp_path / "named"
    deadline = time.monotonic() + 2 * HANG_S
    while not (named.exists() and notes.exists() and '"starts": 1' in notes.read_text() and waited(notes) >= 0.5):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    check_resumed(tmp_path, json.loads(named.read_text()), 1, caplog)


def waited(notes) -> float:
    return max(note["seconds"] for note in json.loads(notes.read_text()).values())
