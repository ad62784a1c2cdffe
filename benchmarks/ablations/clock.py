"""`Clock`: seconds of training after each update, over all stretches of a run that was cut off, and an end at a limit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from transformers import TrainerCallback

FILE = "clock.jsonl"


def read_clock(folder: Path) -> list[tuple[int, float]]:
    """Updates done, and seconds of training until then. The last line may be cut off by a kill."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            entry = json.loads(line)
            rows.append((int(entry["step"]), float(entry["seconds"])))
        except (ValueError, KeyError):
            continue
    return rows


class Clock(TrainerCallback):
    """Writes `clock.jsonl` into the folder of a run.

    The clock runs from the beginning of training, so loading the model is not in it. What was done after the checkpoint that a run
    resumes from is done again, and counted once.

    Args:
        folder (`Path`):
            Folder of the run.
        limit_s (`float`, *optional*):
            Seconds of training after which no further update begins.
    """

    def __init__(self, folder: Path, limit_s: float | None = None):
        self.folder, self.limit_s = folder, limit_s
        self.before = 0.0
        self.began = time.perf_counter()

    def on_train_begin(self, args, state, control, **kwargs):
        kept = [(step, seconds) for step, seconds in read_clock(self.folder) if step <= state.global_step]
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"{FILE}.partial"
        partial.write_text("".join(_line(*row) for row in kept), encoding="utf-8")
        os.replace(partial, self.folder / FILE)
        self.before = kept[-1][1] if kept else 0.0
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        seconds = self.before + time.perf_counter() - self.began
        with (self.folder / FILE).open("a", encoding="utf-8") as file:
            file.write(_line(state.global_step, seconds))
        if self.limit_s is not None and seconds >= self.limit_s:
            control.should_training_stop = True
        return control


def _line(step: int, seconds: float) -> str:
    return json.dumps({"step": step, "seconds": round(seconds, 3)}) + "\n"
