"""Generated demonstrations of several turns: programs that were run, and what the environment answered."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from trl_mle.demo.episodes import DemoAgent
from trl_mle.errors import ConfigError, InfrastructureError, SandboxError

if TYPE_CHECKING:
    from trl_mle.demo.programs import Choice
    from trl_mle.environments import MLEEnvironment, MLESpec
    from trl_mle.tasks import Task

OUTCOMES_FILE = "programs.sqlite"
"""File in `output_dir` with the outcomes of the programs that demonstrations ran. A run that was stopped goes on from it."""
NUMBERS = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?")
"""Numbers in observations. They differ from run to run, so that no token should hold one."""
CONCURRENT_EPISODES = 16
"""Episodes that go on at the same time. The sandbox limits how many programs run."""


@dataclass
class AgentArguments:
    """Parameters of demonstrations of several turns. Help texts are in the fields."""

    agent_turns: int = field(
        default=0,
        metadata={
            "help": "Programs per generated demonstration, at most, as of `trl-mle grpo`. 0: answers of one turn."
        },
    )
    agent_share: float = field(
        default=1.0,
        metadata={"help": "Share of the generated demonstrations that have several turns, if `agent_turns` is set."},
    )
    agent_first_programs: int = field(
        default=100,
        metadata={
            "help": "How many different programs episodes begin with, per task. Every program of an episode is run."
        },
    )
    agent_observation_characters: int = field(
        default=2000, metadata={"help": "Longest answer of a tool, in characters, as of `trl-mle grpo`."}
    )
    sandbox_workers: int | None = field(
        default=None, metadata={"help": "Programs of demonstrations that run at the same time. Default: one per core."}
    )
    sandbox_isolation: str = field(
        default="required", metadata={"help": "Isolation of these programs: 'required' or 'none'."}
    )

    def __post_init__(self):
        for name, least in (("agent_turns", 0), ("agent_first_programs", 1)):
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"`{name}` is {value}; it must be {least} or more.")
        if not 0 < self.agent_share <= 1:
            raise ConfigError(f"`agent_share` is {self.agent_share}; it must be more than 0 and at most 1.")


def load_episodes(tasks: Mapping[str, Task], n: int, args: Any, folder: Path) -> list[dict[str, Any]]:
    """Rows of `n` episodes, in equal shares per task, with the columns `prompt`, `completion` and `tools`.

    The programs are those of [`DemoAgent`]. They run in the local sandbox, and the observations are those of
    [`MLEEnvironment`]. A program that returns is not run again. The same arguments and the same `folder` give the same rows.

    Args:
        tasks (mapping from `str` to [`Task`]):
            Tasks by their names.
        n (`int`):
            Number of episodes.
        args ([`DemonstrationArguments`]):
            Turns, mistakes, and settings of the sandbox.
        folder (`Path`):
            Where `OUTCOMES_FILE` is.

    Raises:
        TaskError: there are no demonstrations for a task.
        SandboxError: programs cannot be run.
    """
    # Imported here, because training from earlier programs needs none of it.
    from trl_mle.demo.episodes import first_choices
    from trl_mle.rewards.cached_scorer import CachedScorer

    firsts = first_choices(list(tasks.values()), n, args.agent_first_programs, 0, args.bug_share)
    spec = _make_spec(tasks, args)
    scorer = CachedScorer(spec.mle_reward.scorer, folder / OUTCOMES_FILE)
    spec.mle_reward.scorer = scorer
    try:
        return asyncio.run(_run_episodes(spec, firsts, args))
    finally:
        scorer.close_file()


def _make_spec(tasks: Mapping[str, Task], args: Any) -> MLESpec:
    from trl_mle.config import EpisodeBudget, PoolConfig, SandboxConfig
    from trl_mle.environments import MLESpec
    from trl_mle.sandboxes import LocalSandbox, SandboxPool

    sandbox = LocalSandbox(SandboxConfig(workers=args.sandbox_workers, isolation=args.sandbox_isolation))
    return MLESpec(
        tasks,
        budget=EpisodeBudget(args.agent_turns, observation_characters=args.agent_observation_characters, keep_bytes=0),
        sandbox=SandboxPool(sandbox, PoolConfig(progress="off")),
    )


async def _run_episodes(spec: MLESpec, firsts: Sequence[Choice], args: Any) -> list[dict[str, Any]]:
    """One row per first program. A fault of one episode ends all of them."""
    from tqdm.auto import tqdm

    tools = _tools(spec.environment_factory())
    rows, names = {row["task"]: row for row in spec.rows()}, list(spec.tasks)
    gate = asyncio.Semaphore(CONCURRENT_EPISODES)
    bar = tqdm(total=len(firsts), desc="Running demonstrations", dynamic_ncols=True, disable=None, leave=False)

    async def run(index: int) -> dict[str, Any]:
        name = names[index % len(names)]
        agent = DemoAgent(spec.tasks[name], firsts[index], Random(f"episode {index}"), args.bug_share)
        async with gate:
            completion = await run_episode(agent, spec.environment_factory(), name, args.agent_turns)
        bar.update()
        return {"prompt": rows[name]["prompt"], "completion": completion, "tools": tools}

    try:
        async with asyncio.TaskGroup() as group:
            started = [group.create_task(run(index)) for index in range(len(firsts))]
    except* InfrastructureError as faults:
        raise faults.exceptions[0] from None
    finally:
        bar.close()
        await spec.aclose()
    return [task.result() for task in started]


async def run_episode(agent: DemoAgent, environment: MLEEnvironment, task: str, turns: int) -> list[dict[str, Any]]:
    """The messages of one episode, from the first program on.

    Args:
        agent ([`DemoAgent`]):
            Chooses the programs.
        environment ([`MLEEnvironment`]):
            Runs them.
        task (`str`):
            Name of the task.
        turns (`int`):
            Most programs.

    Raises:
        SandboxError: a program could not be run.
    """
    environment.reset(task=task)
    messages: list[dict[str, Any]] = []
    for turn in range(1, turns + 1):
        draft = agent.draft()
        code = draft.code()
        observation = await environment.run_program(code)
        messages += [_call("run_program", {"code": code}, draft.plan), _answer("run_program", observation)]
        outcome = environment.episode.turns[-1].outcome
        if outcome is None or outcome.kind == "fault":
            episode = environment.episode
            raise episode.unavailable or SandboxError(
                f"A program of a demonstration could not be run: {episode.fault}. What has run is kept: start again to go on."
            )
        if turn == turns:  # its last valid submission counts without a call
            break
        if not agent.proceed(outcome.kind):
            messages += [_call("submit", {}), _answer("submit", await environment.submit())]
            break
    return [*messages, _message("assistant", "")]


def _call(name: str, arguments: dict[str, str], content: str = "") -> dict[str, Any]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return _message("assistant", content) | {"tool_calls": [call]}


def _answer(name: str, observation: str) -> dict[str, Any]:
    return _message("tool", observation) | {"name": name}


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


def _tools(environment: MLEEnvironment) -> str:
    """The tools as JSON, as chat templates take them."""
    from transformers.utils import get_json_schema

    return json.dumps([get_json_schema(tool) for tool in (environment.run_program, environment.submit)])
