"""How much shorter rollouts of several turns are if tools run at the same time, against TRL's own loop.

    python benchmarks/agent_turns.py waits --seeds 1                 # as long as programs take; TRL's loop needs nine minutes
    python benchmarks/agent_turns.py waits --seeds 10 --scale 0.1    # a tenth of all seconds
    python benchmarks/agent_turns.py programs                        # programs in `LocalSandbox` that sleep

`waits`: 32 rollouts of 4 turns, whose programs take log-normal seconds (median 2 s, sigma 1.2), on 8 places. The policy is
scripted. The tool of the environment gives its program to a `SandboxPool`, behind which a program is an `asyncio.sleep`.
`programs`: `MLESpec`, a built-in task, and programs that sleep and then write the sample submission, in a `LocalSandbox` with 8
workers.

All arms have the same seconds, prompts and policy. Their transcripts are compared; those of `programs` without the numbers, since
observations hold measured seconds. Timed is the tool loop alone: `GRPOTrainer._tool_call_loop` and what takes its place. Figures
go to stdout, and as JSON to `--out`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import re
import statistics
import tempfile
import time
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
from transformers import PrinterCallback

logging.disable(logging.WARNING)
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

MEDIAN_S, SIGMA = 2.0, 1.2
ARMS = ("trl", "together", "independent")


def log_normal_seconds(seed: int, rollouts: int, turns: int, scale: float) -> np.ndarray:
    """Seconds of each program, shape (rollouts, turns)."""
    return scale * MEDIAN_S * np.exp(SIGMA * np.random.default_rng(seed).standard_normal((rollouts, turns)))


def least_seconds(seconds: np.ndarray, places: int) -> float:
    """What no schedule can beat: all programs on so many places, and the longest rollout."""
    return float(max(seconds.sum() / places, seconds.sum(axis=1).max()))


def waiting_environment(seconds: np.ndarray, places: int, folder: Path) -> tuple[Any, Any, list[list[str]]]:
    """Environment factory, reward function and the policy's messages, for programs that are an `asyncio.sleep`."""
    from tests.support.agents import call
    from tests.support.sandbox_doubles import SandboxDouble, execution
    from tests.support.tasks import toy_task
    from trl_mle.config import PoolConfig
    from trl_mle.sandboxes.pool.pool import SandboxPool
    from trl_mle.types import Limits

    class Sleeping(SandboxDouble):
        workers = places

        async def run(self, code, task, limits=None, *, source=None, group=None, files=None):
            await asyncio.sleep(float(code))
            return execution(stdout=f"done in {code}")

    pool = SandboxPool(Sleeping(), PoolConfig(progress="off"))
    task, limits = toy_task(folder), Limits(wall_s=3600.0)

    class Environment:
        def reset(self, **row: Any) -> None:
            self.rollout: int | None = None

        async def run(self, number: int) -> str:
            """
            Runs a program.

            Args:
                number: Its number.
            """
            rollout, turn = divmod(number, seconds.shape[1])
            ended = await pool.run(f"{seconds[rollout, turn]:.6f}", task, limits, group=rollout)
            return ended.stdout

    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0 + len(each) for each in completions])
        return [float(row % 3) for row in range(len(completions))]

    numbers = np.arange(seconds.size).reshape(seconds.shape)
    return Environment, [reward], [[call("run", number=int(number)) for number in row] for row in numbers]


def loop_seconds(
    arm: str, factory: Any, rewards: list, scripts: list[list[str]], data: Any, start: Any = None
) -> tuple[float, list]:
    """Train once. Returns the seconds of the tool loop, and the transcripts. The asynchronous `start` is awaited before it."""
    from trl import GRPOConfig, GRPOTrainer

    from tests.support.agents import scripted_model
    from tests.support.drop_in_tools import tokenizer
    from tests.support.tiny import tiny_args
    from trl_mle import DurationAwareConfig, DurationAwareTrainer

    theirs = arm == "trl"
    spent: list[float] = []
    transcripts: list[Any] = []

    class Timed(GRPOTrainer if theirs else DurationAwareTrainer):  # type: ignore[misc]
        def _tool_call_loop(self, *arguments):
            if start is not None:
                asyncio.run_coroutine_threadsafe(start(), self.async_loop).result()
            began = time.perf_counter()
            returned = super()._tool_call_loop(*arguments)
            spent.append(time.perf_counter() - began)
            transcripts.append([returned[1], returned[2], returned[0]])
            return returned

    ours = {} if theirs else {"tool_rollouts": arm, "save_rollouts": False, "duration_weighting": "none"}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Timed(
            model=scripted_model(scripts),
            processing_class=tokenizer(),
            args=tiny_args(
                folder,
                GRPOConfig if theirs else DurationAwareConfig,
                per_device_train_batch_size=len(scripts),
                max_steps=1,
                max_completion_length=20_000,
                **ours,
            ),
            train_dataset=data,
            reward_funcs=rewards,
            environment_factory=factory,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return spent[0], transcripts[0]


def waits(args: argparse.Namespace) -> list[dict]:
    from tests.support.agents import short_prompts

    runs = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        seconds = log_normal_seconds(seed, args.rollouts, args.turns, args.scale)
        with tempfile.TemporaryDirectory() as folder:
            factory, rewards, scripts = waiting_environment(seconds, args.places, Path(folder))
            results = {arm: loop_seconds(arm, factory, rewards, scripts, short_prompts("toy")) for arm in ARMS}
        run = compared(seed, seconds, args.places, results)
        print(json.dumps(run), flush=True)
        runs.append(run)
    return runs


def programs(args: argparse.Namespace) -> list[dict]:
    from tests.support.agents import run_program, short_prompts
    from trl_mle import EpisodeBudget, LocalSandbox, MLESpec

    runs = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        seconds = np.minimum(log_normal_seconds(seed, args.rollouts, args.turns, args.scale), 50.0)
        number = count()
        scripts = [
            [
                run_program(
                    f"import shutil, time\n\ntime.sleep({value:.3f})\n# {next(number)}\n"
                    'shutil.copy("input/sample_submission.csv", "submission.csv")\n'
                )
                for value in row
            ]
            for row in seconds
        ]
        results = {}
        for arm in ARMS:
            spec = MLESpec(
                ["builtin:digits"],
                budget=EpisodeBudget(runs=args.turns, seconds=3600.0),
                sandbox=LocalSandbox(workers=args.places),
            )
            try:
                data = short_prompts("builtin:digits")
                results[arm] = loop_seconds(
                    arm, spec.environment_factory, spec.reward_funcs, scripts, data, spec.mle_reward.open
                )
            finally:
                spec.close()
        texts = {arm: (spent, without_numbers(transcript[0])) for arm, (spent, transcript) in results.items()}
        run = compared(seed, seconds, args.places, texts)
        print(json.dumps(run), flush=True)
        runs.append(run)
    return runs


def compared(seed: int, seconds: np.ndarray, places: int, results: dict[str, tuple[float, Any]]) -> dict:
    """The figures of one seed, from the seconds and the transcript of each arm. Ends the benchmark if transcripts differ."""
    for arm in ARMS[1:]:
        if results[arm][1] != results["trl"][1]:
            raise SystemExit(f"Seed {seed}: the transcripts of {arm!r} are not those of TRL.")
    return {
        "seed": seed,
        "programs": seconds.size,
        "program_seconds": round(float(seconds.sum()), 3),
        "least_seconds": round(least_seconds(seconds, places), 3),
        "seconds": {arm: round(spent, 3) for arm, (spent, _) in results.items()},
        "ratio": {arm: round(results["trl"][0] / results[arm][0], 3) for arm in ARMS[1:]},
    }


def without_numbers(completions: list) -> str:
    """The messages with all numbers of tools' answers left out: they hold measured seconds."""
    kept = [
        [
            {**message, "content": re.sub(r"\d+(\.\d+)?", "#", message["content"])}
            if message["role"] == "tool"
            else message
            for message in messages
        ]
        for messages in completions
    ]
    return json.dumps(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("waits", "programs"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all seconds")
    parser.add_argument("--rollouts", type=int, default=32)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--places", type=int, default=8)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    runs = (waits if args.what == "waits" else programs)(args)
    figures = {
        arm: {
            "mean": round(statistics.mean(run["ratio"][arm] for run in runs), 3),
            "min": min(run["ratio"][arm] for run in runs),
            "max": max(run["ratio"][arm] for run in runs),
        }
        for arm in ARMS[1:]
    }
    print(json.dumps({"ratio to TRL's loop": figures}))
    if args.out:
        settings = {name: value for name, value in vars(args).items() if name != "out"}
        versions = {name: version(name) for name in ("trl", "transformers", "torch")}
        machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
        report = {**machine, "versions": versions, "settings": settings, "ratio": figures, "runs": runs}
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
