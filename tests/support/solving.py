"""A Kaggle folder, a policy that answers from a list, and a sandbox whose programs are one number."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from tests.support.sandbox_doubles import SandboxDouble, execution

COPY = """import pandas as pd
from sklearn.linear_model import LinearRegression
train, test = pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")
sample = pd.read_csv("input/sample_submission.csv")
model = LinearRegression()
model.fit(train[["area", "rooms"]], train["price"])
sample["price"] = model.predict(test[["area", "rooms"]])
sample.to_csv("submission.csv", index=False)
"""
"""A program for `kaggle_folder`."""


def kaggle_folder(folder: Path, rows: int = 120, test_rows: int = 30) -> Path:
    """Houses: `train.csv` with dates and decimal commas, `test.csv` without prices, and a sample submission."""
    rng = np.random.default_rng(0)
    count = rows + test_rows
    area, rooms = rng.uniform(40, 200, count).round(1), rng.integers(1, 7, count)
    price = (900 * area + 8000 * rooms + rng.normal(0, 2000, count)).round().astype(int)
    frame = pd.DataFrame(
        {
            "Id": [f"h{number:04d}" for number in rng.permutation(count)],
            "area": [str(value).replace(".", ",") for value in area],
            "rooms": rooms,
            "sold": [f"{1 + number % 28:02d}.{1 + number % 12:02d}.2021" for number in range(count)],
            "same": "x",
            "price": price,
        }
    )
    home = folder / "houses"
    home.mkdir(parents=True)
    frame[:rows].to_csv(home / "train.csv", index=False, sep=";")
    frame[rows:].drop(columns="price").to_csv(home / "test.csv", index=False, sep=";")
    frame[rows:][["Id"]].assign(price=0).to_csv(home / "sample_submission.csv", index=False)
    return home


def text_of(code: str) -> str:
    """A completion with a program."""
    return f"A plan.\n```python\n{code}\n```"


class ScriptedPolicy:
    """Answers from a list, again and again, and keeps the prompts. An exception in the list is raised."""

    model = "scripted"
    samples_per_request = 4

    def __init__(self, *answers, pause_s: float = 0.0):
        self.answers = itertools.cycle(answers)
        self.pause_s = pause_s
        self.prompts: list[list[dict]] = []
        self.seeds: list[int] = []

    async def sample(self, messages, n, *, temperature, top_p, max_tokens, seed):
        await asyncio.sleep(self.pause_s)
        self.prompts.append(messages)
        self.seeds.append(seed)
        found = []
        for _ in range(n):
            answer = next(self.answers)
            if isinstance(answer, Exception):
                raise answer
            found.append(SimpleNamespace(text=answer, tokens=len(answer), truncated=False, seconds=0.0))
        return found

    def count_tokens(self, messages):
        return None

    async def aclose(self):
        pass


class NumberSandbox(SandboxDouble):
    """A program is `offset = X`: it predicts `2 a - b + X` for the toy task, so that smaller offsets score better. `fails_on` are
    offsets whose programs fail, and `hangs_on` those that never end."""

    workers = 4

    def __init__(self, fails_on=(), hangs_on=(), answers=None):
        self.fails_on, self.hangs_on, self.answers = fails_on, hangs_on, list(answers or ())
        self.ran: list[tuple[float, Path]] = []
        self.cancelled = 0

    async def run(self, code, task, limits=None, *, source=None, group=None):
        offset = float((source or code).split("offset =")[1].split()[0])
        self.ran.append((offset, task.folder))
        if self.answers and (answer := self.answers.pop(0)) is not None:
            raise answer
        if offset in self.hangs_on:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if offset in self.fails_on:
            return execution("error", exit_code=1, stderr=f"Traceback\nValueError: bad offset {offset}")
        test = pd.read_csv(task.test_path)
        values = 2 * test["a"] - test["b"] + offset
        return execution(submission=test[["id"]].assign(y=values).to_csv(index=False).encode())
