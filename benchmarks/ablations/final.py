"""Samples of a policy, and all figures of a run: `figures.json`. Started by `benchmarks/ablation.py`.

Every arm is evaluated alike: from scratch, at temperature 1, with the seeds of `trl_mle.evaluation`, on programs that run once.
An agent is evaluated by its episodes. Sampling without training takes as many samples, or as many seconds, as a training has.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import yaml

from ablations.progress import best_program, learned_scores, training_figures
from ablations.samples import Scale, sample_figures
from trl_mle import LocalSandbox
from trl_mle.config import EpisodeBudget
from trl_mle.evaluation import evaluate, validate_task_once
from trl_mle.evaluation.sample_store import Place, SampleStore
from trl_mle.rewards import ProgramScorer
from trl_mle.rewards.cached_scorer import CachedScorer
from trl_mle.scripts.build import with_time_limit
from trl_mle.tasks import Task, load_task
from trl_mle.types import Outcome, Program

STATED_LIMIT_S = 10.0
"""Time limit that prompts state, as in the recipes of the demo policy."""
NAME = "policy"
CHUNK = 128
"""Samples between two looks at the clock."""
MAX_TOKENS = {"scratch": 112, "agent": 896}
"""Longest completion, and longest episode, as `max_completion_length` of the recipes in `recipes/quickstart`."""


def main() -> None:
    args = parser().parse_args()
    loaded = {name: load_task(name) for name in (*args.tasks, *args.held_out)}
    scales = asyncio.run(scales_of(list(loaded.values())))
    tasks = with_time_limit(loaded, STATED_LIMIT_S)
    several, sampled_s = args.sampled, None
    if args.sampled_s is not None:
        several, sampled_s = sample_for(args, [tasks[name] for name in args.tasks])
    found = outcomes_of(args, list(tasks.values()), several)
    result: dict[str, Any] = {**yaml.safe_load(args.about), "tasks": {}, "held out": {}}
    for part, names in (("tasks", args.tasks), ("held out", args.held_out)):
        for name in names:
            task = tasks[name]
            result[part][task.id] = sample_figures(found[task.id], scales[task.id], several)
    result["training"] = training_figures(args.folder)
    for task in (tasks[name] for name in args.tasks):
        result["tasks"][task.id] |= learned_scores(args.folder, task)
        code = best_program(args.folder, task.id)
        if code is not None:
            score = scales[task.id].value(private_score(code, task, args))
            result["tasks"][task.id]["best program"] = round(score, 4)
    if sampled_s is not None and several:
        programs = several * len(args.tasks)
        speed = round(programs / sampled_s, 3)
        result["training"] = {"programs": programs, "seconds": sampled_s, "programs per second": speed}
    write(args.folder / "figures.json", result)


async def scales_of(tasks: list[Task]) -> dict[str, Scale]:
    """Task id -> scale, measured once under the tasks' own limits."""
    async with LocalSandbox(workers=1) as sandbox:
        return {task.id: Scale.of(task, await validate_task_once(task, sandbox)) for task in tasks}


def outcomes_of(args: argparse.Namespace, tasks: list[Task], several: int | None) -> dict[str, list[Outcome]]:
    """Task id -> outcomes of the policy's samples, at least as many as asked for."""
    n = max(args.samples, several or 0)
    folder = args.folder / ("sampled" if args.sampled_s is not None else "evaluation")
    draw(args, tasks, n, folder, CachedScorer(scorer(args), args.cache))
    kind = "agent" if args.episode_programs else "scratch"
    with SampleStore(folder, read_only=True) as store:
        return {
            task.id: [record.outcome for record in store.records(Place(NAME, task.id, kind)) if record.outcome]
            for task in tasks
        }


def draw(args: argparse.Namespace, tasks: list[Task], n: int, folder: Path, by: ProgramScorer) -> None:
    """Draw samples until there are `n` per task; what the folder has is kept."""
    budget = (
        EpisodeBudget(args.episode_programs, observation_characters=600, keep_bytes=0)
        if args.episode_programs
        else None
    )
    mode = "agent" if budget else "scratch"
    evaluate(
        {NAME: str(args.policy)},
        tasks,
        n,
        out=folder,
        scorer=by,
        episode=budget,
        mode=mode,
        seed=args.seed,
        max_tokens=MAX_TOKENS[mode],
    )


def sample_for(args: argparse.Namespace, tasks: list[Task]) -> tuple[int, float]:
    """Draw samples for `args.sampled_s` seconds without known programs; returns samples per task and seconds.

    A call that was cut off begins its chunk again, and its seconds are counted from the last whole chunk.
    """
    state = args.folder / "sampled.json"
    done = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {"samples": 0, "seconds": 0.0}
    while done["seconds"] < args.sampled_s:
        began = time.perf_counter()
        draw(args, tasks, done["samples"] + CHUNK, args.folder / "sampled", scorer(args, workers=None))
        done = {"samples": done["samples"] + CHUNK, "seconds": done["seconds"] + time.perf_counter() - began}
        write(state, done)
    return int(done["samples"]), round(float(done["seconds"]), 1)


def scorer(args: argparse.Namespace, workers: int | None = 1) -> ProgramScorer:
    return ProgramScorer(LocalSandbox(workers=workers), wall_s=args.wall_limit_s)


def private_score(code: str, task: Task, args: argparse.Namespace) -> float | None:
    """Private score of a program that a training has run."""

    async def score() -> Outcome:
        async with CachedScorer(scorer(args), args.cache) as cached:
            return await cached.score_program(Program("", code), task)

    outcome = asyncio.run(score())
    return outcome.private.score if outcome.kind == "valid" and outcome.private is not None else None


def write(path: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--policy", type=Path, required=True)
    made.add_argument("--folder", type=Path, required=True, help="folder of the run")
    made.add_argument("--tasks", nargs="+", required=True, help="tasks of the training")
    made.add_argument("--held-out", nargs="*", default=[], help="tasks that show transfer")
    made.add_argument("--samples", type=int, default=64, help="samples per task")
    made.add_argument("--sampled", type=int, help="samples per task in place of a training")
    made.add_argument("--sampled-s", type=float, help="seconds of sampling in place of a training")
    made.add_argument("--episode-programs", type=int, default=0, help="programs per episode of an agent; 0: no agent")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--wall-limit-s", type=float, default=30.0)
    made.add_argument("--cache", type=Path, required=True, help="file of known programs")
    made.add_argument("--about", default="{}", help="what the run is, as YAML")
    return made


if __name__ == "__main__":
    main()
