"""Runs of self-improvement prompts without a trainer: outcomes follow from the prompt alone."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from tests.support.tasks import toy_task
from trl_mle.config import ExperienceConfig
from trl_mle.curriculum import ExperiencePrompts
from trl_mle.experience import ExperienceStore
from trl_mle.prompts import build_prompt
from trl_mle.rewards.records import prompt_columns, rollout_columns
from trl_mle.types import Execution, Grade, Outcome, Program

GROUPS, SIZE = 2, 3


def outcome_of(text: str, task_id: str = "toy", private: float = 0.0, printed: str = "") -> Outcome:
    """A valid outcome for four texts of five, a failure for the others. Score and program follow from the text."""
    number = zlib.crc32(text.encode())
    valid, score = number % 5 > 0, (number % 1000) / 500 - 1
    return Outcome(
        task_id=task_id,
        kind="valid" if valid else "failure",
        reward=score if valid else -9.7,
        duration_s=1.0,
        reward_parts={"score": score} if valid else {"failure": -10.0, "milestones": 0.3},
        program=Program(f"Plan {number}.", f"model = Ridge(alpha={number})\nprint('done')\n"),
        execution=Execution(
            status="ok" if valid else "error",
            exit_code=0 if valid else 1,
            wall_s=1.0,
            cpu_s=1.0,
            max_rss_bytes=1,
            stdout=printed,
            stderr="" if valid else "ValueError: no",
        ),
        public=Grade(1.0 - score, True) if valid else None,
        private=Grade(private, True) if valid else None,
    )


def columns_of(rows, outcomes, step, **more):
    """The columns of a batch as a trainer keeps them."""
    arguments = {name: [row[name] for row in rows] for name in rows[0]}
    return {
        **rollout_columns(outcomes, with_reward=True),
        **prompt_columns(arguments),
        "step": [step] * len(rows),
        **more,
    }


class Simulation:
    """A run over one toy task, whose `step` is one generation batch that is then trained on."""

    def __init__(self, folder: Path, task=None, private=0.0, printed="", **settings):
        self.task = toy_task(folder) if task is None else task
        self.store = ExperienceStore(folder / "experience.sqlite")
        settings = {"improve_fraction": 0.5, **settings}
        budget, seed = settings.pop("budget", None), settings.pop("seed", 0)
        self.prompts = ExperiencePrompts(
            {"toy": self.task}, self.store, ExperienceConfig(**settings), budget, seed=seed
        )
        self.private, self.printed = private, printed
        self.scratch = build_prompt(self.task)
        self.generation = 0
        self.metrics: list[dict[str, float]] = []

    def choose(self):
        rows = [{"prompt": self.scratch, "task": "toy"}] * GROUPS
        chosen = self.prompts.choose(rows, self.generation)
        self.generation += 1
        return chosen

    def learn(self, chosen):
        rows = [row for row in chosen for _ in range(SIZE)]
        outcomes = [
            outcome_of(
                f"{json.dumps(row['prompt'])} {self.generation} {place}",
                private=self.private * place,
                printed=self.printed * place,
            )
            for place, row in enumerate(rows)
        ]
        self.metrics.append(self.prompts.observe(columns_of(rows, outcomes, self.generation - 1)))

    def step(self):
        chosen = self.choose()
        self.learn(chosen)
        return chosen

    def run(self, steps):
        """What the groups of each step were asked, except for ids, which depend on the history of the file."""
        return [
            {name: value for name, value in row.items() if name != "parent_id"}
            for _ in range(steps)
            for row in self.step()
        ]

    def checkpoint(self):
        return {"generation": self.generation, "state": json.loads(json.dumps(self.prompts.state_dict()))}

    def resume(self, checkpoint):
        self.generation = checkpoint["generation"]
        self.prompts.load_state_dict(checkpoint["state"])
