"""How much `overlap_execution` shortens an update, and what this trainer costs compared with plain GRPOTrainer.

    python benchmarks/overlap.py speed --seeds 3                 # sleeping programs, log-normal seconds
    python benchmarks/overlap.py learning --seeds 5              # the same rewards, with and without overlap
    python benchmarks/overlap.py overhead --runs 7               # seconds per step against trl.GRPOTrainer

Programs sleep. Their seconds are log-normal (median 2 s, sigma 1.2), drawn by a generator that depends only on the seed and the
number of the program, so both ways wait for programs of the same distribution. The policy is the tiny one of
`tests/support/tiny.py`. `--scale` multiplies all seconds. `learning` uses 0.01 so that many updates fit; the policy is then a
larger part of an update, so `speed` is the figure to quote. Figures go to stdout, and as JSON to `--out`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import platform
import statistics
import tempfile
import threading
import time
from importlib.metadata import version
from itertools import count
from pathlib import Path

import checkout  # noqa: F401
import numpy as np
from transformers import PrinterCallback, TrainerCallback

logging.disable(logging.WARNING)

MEDIAN_S, SIGMA = 2.0, 1.2


class SleepingPrograms:
    """An `async` reward function whose programs sleep. The reward is the share of letters `a` to `m` in the text."""

    def __init__(self, seed: int, scale: float):
        self.__name__ = "share"
        self.seed, self.scale = seed, scale
        self.number = count()
        self.seen: list[float] = []

    async def __call__(self, completions, log_extra, **kwargs):
        rewards, seconds = zip(*await asyncio.gather(*map(self.program, completions)), strict=True)
        log_extra("action_duration", list(seconds))
        return list(rewards)

    async def program(self, text: str) -> tuple[float, float]:
        draw = np.random.default_rng((self.seed, next(self.number))).standard_normal()
        seconds = MEDIAN_S * math.exp(SIGMA * draw) * self.scale
        await asyncio.sleep(seconds)
        self.seen.append(seconds)
        return sum("a" <= letter <= "m" for letter in text) / 8, seconds


class EachUpdate(TrainerCallback):
    """Keeps the seconds of every update."""

    def __init__(self):
        self.steps: list[float] = []

    def on_train_begin(self, *args, **kwargs):
        self.began = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        now = time.perf_counter()
        self.steps.append(now - self.began)
        self.began = now


def train(folder: str, *, seed: int, updates: int, scale: float, overlap: bool, args: argparse.Namespace) -> dict:
    from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
    from trl_mle import DurationAwareTrainer

    programs, clock = SleepingPrograms(seed, scale), EachUpdate()
    trainer = DurationAwareTrainer(
        model=tiny_model(),
        reward_funcs=programs,
        args=tiny_args(
            folder,
            per_device_train_batch_size=args.batch,
            num_generations=args.generations,
            max_steps=updates,
            learning_rate=3e-3,
            seed=seed,
            save_rollouts=False,
            overlap_execution=overlap,
            overlap_batches=args.overlap_batches,
            max_staleness=args.max_staleness,
        ),
        train_dataset=tiny_dataset(64),
        processing_class=tiny_tokenizer(),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    last = history[-max(len(history) // 5, 1) :]
    return {
        "seconds": clock.steps,
        "reward_first": history[0]["reward"],
        "reward_last": statistics.fmean(entry["reward"] for entry in last),
        "staleness_mean": statistics.fmean(entry.get("overlap/staleness_mean") or 0.0 for entry in history),
        "staleness_max": max(entry.get("overlap/staleness_max") or 0.0 for entry in history),
        "wait_s": [entry.get("overlap/wait_s") or 0.0 for entry in history],
        "dropped_rows": sum(entry.get("overlap/dropped_rows") or 0.0 for entry in history),
        "trained_rows": len(history) * args.batch,
    }


def both_ways(args: argparse.Namespace, updates: int, scale: float) -> dict:
    """Every seed once with and once without overlap, alternating which comes first."""
    runs: dict[str, list[dict]] = {"waiting": [], "overlapping": []}
    for seed in range(args.seeds):
        order = ("waiting", "overlapping") if seed % 2 == 0 else ("overlapping", "waiting")
        for way in order:
            with tempfile.TemporaryDirectory() as folder:
                run = train(folder, seed=seed, updates=updates, scale=scale, overlap=way == "overlapping", args=args)
            runs[way].append(run)
            print(
                f"seed {seed} {way:12} {statistics.fmean(run['seconds']):7.3f} s per update, reward {run['reward_first']:.3f} -> "
                f"{run['reward_last']:.3f}, staleness {run['staleness_mean']:.2f} (max {run['staleness_max']:.0f}), dropped "
                f"{run['dropped_rows']:.0f} rows",
                flush=True,
            )
    pairs = list(zip(runs["waiting"], runs["overlapping"], strict=True))
    ratios = [sum(waiting["seconds"]) / sum(overlapped["seconds"]) for waiting, overlapped in pairs]
    gaps = [overlapped["reward_last"] - waiting["reward_last"] for waiting, overlapped in pairs]
    spread = statistics.stdev(gaps) if len(gaps) > 1 else math.nan
    print(f"times shorter: mean {statistics.fmean(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
    print(
        f"final reward, overlapping minus waiting: {statistics.fmean(gaps):+.4f} (standard deviation over seeds "
        f"{spread:.4f}, of the mean {spread / math.sqrt(len(gaps)):.4f})"
    )
    return {"runs": runs, "times_shorter": ratios, "reward_differences": gaps}


class Turns(EachUpdate):
    """Two trainings in two threads take turns, step by step, so that other load of the machine affects both equally."""

    def __init__(self, mine: threading.Semaphore, other: threading.Semaphore, after=lambda: None):
        super().__init__()
        self.mine, self.other, self.after = mine, other, after

    def on_train_begin(self, *args, **kwargs):
        self.mine.acquire()
        self.began = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        self.steps.append(time.perf_counter() - self.began)
        self.after()
        self.other.release()
        self.mine.acquire()
        self.began = time.perf_counter()

    def on_train_end(self, *args, **kwargs):
        self.other.release()


class OwnSeconds:
    """Seconds of every step that are spent in our overrides, without the methods of `trl.GRPOTrainer` that they call."""

    methods = ("_generate_and_score_completions", "_calculate_rewards")

    def __init__(self, ours: type, theirs: type):
        self.of_steps: list[float] = []
        spent = {"ours": 0.0, "theirs": 0.0}

        def watched(method, key: str):
            def call(trainer, *args, **kwargs):
                began = time.perf_counter()
                try:
                    return method(trainer, *args, **kwargs)
                finally:
                    if isinstance(trainer, ours):
                        spent[key] += time.perf_counter() - began

            return call

        self.originals = [(owner, name, getattr(owner, name)) for owner in (theirs, ours) for name in self.methods]
        for (owner, name, method), key in zip(self.originals, ("theirs", "theirs", "ours", "ours"), strict=True):
            setattr(owner, name, watched(method, key))
        self.spent = spent

    def take(self) -> None:
        self.of_steps.append(self.spent["ours"] - self.spent["theirs"])
        self.spent.update(ours=0.0, theirs=0.0)

    def restore(self) -> None:
        for owner, name, method in self.originals:
            setattr(owner, name, method)


def overhead(args: argparse.Namespace) -> dict:
    """Seconds per step of both trainers on the same data, taking turns; instant programs, rollouts kept as by default."""
    from trl import GRPOConfig, GRPOTrainer

    from tests.support.tiny import tiny_args, tiny_dataset, tiny_model, tiny_tokenizer
    from trl_mle import DurationAwareConfig, DurationAwareTrainer

    def reward(completions, log_extra, **kwargs):
        log_extra("action_duration", [1.0 + len(text) for text in completions])
        return [float(len(set(text))) for text in completions]

    def made(trainer_class, config_class, folder: str, turns: Turns):
        trainer = trainer_class(
            model=tiny_model(),
            reward_funcs=reward,
            args=tiny_args(
                folder,
                config_class,
                per_device_train_batch_size=args.batch,
                num_generations=args.generations,
                max_completion_length=args.tokens,
                generation_kwargs={"min_new_tokens": args.tokens},  # every step has the same work to do
                max_steps=args.steps,
            ),
            train_dataset=tiny_dataset(64),
            processing_class=tiny_tokenizer(),
            callbacks=[turns],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    figures: dict[str, list] = {"ours_s": [], "theirs_s": [], "ratios": [], "own_s": []}
    for run in range(args.runs):
        own = OwnSeconds(DurationAwareTrainer, GRPOTrainer)
        semaphores = threading.Semaphore(run % 2), threading.Semaphore(1 - run % 2)
        turns = Turns(*semaphores, own.take), Turns(*reversed(semaphores))
        with tempfile.TemporaryDirectory() as folder:
            trainers = [
                made(DurationAwareTrainer, DurationAwareConfig, f"{folder}/ours", turns[0]),
                made(GRPOTrainer, GRPOConfig, f"{folder}/theirs", turns[1]),
            ]
            if run % 2:  # which comes first in memory matters too
                trainers.reverse()
            threads = [threading.Thread(target=trainer.train) for trainer in trainers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        own.restore()
        settled = args.steps // 10
        ours, theirs = (statistics.median(turn.steps[settled:]) for turn in turns)
        figures["ours_s"].append(ours)
        figures["theirs_s"].append(theirs)
        figures["ratios"].append(ours / theirs)
        figures["own_s"].append(statistics.median(own.of_steps[settled:]))
        print(
            f"run {run}: {ours:.4f} s against {theirs:.4f} s per step, ratio {ours / theirs:.3f}; inside this trainer's own code "
            f"{1000 * figures['own_s'][-1]:.2f} ms, {figures['own_s'][-1] / theirs:.2%}",
            flush=True,
        )
    ratios = figures["ratios"]
    print(f"ratio: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "learning", "overhead"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int)
    parser.add_argument("--scale", type=float, help="factor of all seconds; 1 for speed, 0.01 for learning")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--overlap-batches", type=int, default=2)
    parser.add_argument("--max-staleness", type=int, default=8)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.what == "overhead":
        figures = overhead(args)
    else:
        quick = args.what == "learning"
        figures = both_ways(args, args.updates or (300 if quick else 12), args.scale or (0.01 if quick else 1.0))
    names = ("trl_mle", "trl", "transformers", "torch")
    machine = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    settings = {name: str(value) for name, value in vars(args).items()}
    report = {**machine, "versions": {name: version(name) for name in names}, "settings": settings, **figures}
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
