"""What each of two processes runs for `test_processes_end_together.py`: in every scenario the second one fails, except for
what the first one alone writes.

Each process writes the error that ended its training, and the seconds that it took, to `OUT/<rank>.json`.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from accelerate import PartialState

from tests.support.sandbox_doubles import SandboxDouble
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
from trl_mle import DurationAwareTrainer, MLEReward
from trl_mle.errors import SandboxUnavailableError

SCENARIOS = (
    "sync_reward",
    "async_reward",
    "short",
    "column",
    "sandbox",
    "rollouts",
    "overlapped_reward",
    "overlapped_column",
    "overlapped_sandbox",
)


class NoSandbox(SandboxDouble):
    """Fails at once, or takes a long time where it does not fail."""

    def __init__(self, fails: bool, seconds: float):
        self.fails, self.seconds = fails, seconds

    async def run(self, code, task, limits=None, **options):
        if self.fails:
            raise SandboxUnavailableError("no room for programs")
        await asyncio.sleep(self.seconds)
        raise SandboxUnavailableError("never reached in time")


def reward_of(scenario: str, fails: bool, folder: Path):
    def reward(completions, log_extra, **kwargs):
        if fails and "reward" in scenario:
            raise RuntimeError("no rewards today")
        log_extra("action_duration", [-1.0 if fails and "column" in scenario else 1.0] * len(completions))
        return [float(len(text)) for text in completions][: -1 if fails and scenario == "short" else None]

    async def later(completions, log_extra, **kwargs):
        await asyncio.sleep(0.01)
        return reward(completions, log_extra)

    if "sandbox" not in scenario:
        return later if scenario in ("async_reward", "overlapped_reward") else reward

    mle = MLEReward(sandbox=NoSandbox(fails, 60.0), tasks={"toy": toy_task(folder)})

    async def scored(prompts, completions, **kwargs):
        if not fails and scenario == "sandbox":  # is through, and waits in the collective
            return [1.0] * len(completions)
        # The tiny policy writes no programs: it is given one.
        return await mle(prompts, ["```python\nprint(1)\n```"] * len(completions), **kwargs)

    return scored


def main(out: Path) -> None:
    rank = PartialState(cpu=True).process_index
    dataset = tiny_dataset()
    dataset = dataset.add_column("task", ["toy"] * len(dataset))
    ends = {}
    for scenario in SCENARIOS:
        args = tiny_args(
            out / scenario,
            per_device_train_batch_size=4,
            max_steps=2,
            overlap_execution=scenario.startswith("overlapped"),
            save_rollouts=scenario == "rollouts",
        )
        trainer = DurationAwareTrainer(
            model=tiny_model(),
            reward_funcs=reward_of(scenario, rank == 1, out / f"{scenario}_{rank}"),
            args=args,
            train_dataset=dataset,
            processing_class=tiny_tokenizer(),
        )
        if scenario == "rollouts" and rank == 0:
            trainer._rollout_writer.folder = Path("/dev/null/rollouts")  # a folder that cannot be made
        began = time.monotonic()
        try:
            trainer.train()
            ends[scenario] = ["no error", "", time.monotonic() - began]
        except Exception as error:
            ends[scenario] = [type(error).__name__, str(error), time.monotonic() - began]
        (out / f"{rank}.json").write_text(json.dumps(ends))
