"""`evaluate`: n samples per policy and task, run and timed as in training, resumable after any kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from trl_mle.config import EpisodeBudget
from trl_mle.environments import MLESpec
from trl_mle.errors import ConfigError
from trl_mle.evaluation.agent_run import AgentRun
from trl_mle.evaluation.candidates import Candidate, candidates_of
from trl_mle.evaluation.entries import TaskNote
from trl_mle.evaluation.policy_run import PolicyRun
from trl_mle.evaluation.sample_store import EVALUATION, SampleStore
from trl_mle.evaluation.settings import EvaluationSettings, EvaluationTiming
from trl_mle.evaluation.table import EvaluationTable, read_table
from trl_mle.evaluation.task_digest import task_digest
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.tasks import Task, load_task

FIXED = ("episode", "mode", "seed", "temperature", "top_p", "max_tokens", "reward_split")
"""Settings that the samples of a folder share. `n` may rise, unless half of the samples improve the others; only these see how
long prompts may be."""


class Progress(Protocol):
    """Shows how far an evaluation is. A context manager, entered once."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def begin(self, policy: str, samples: int) -> None:
        """The evaluation of a policy begins, with so many samples in all."""
        ...

    def advance(self, samples: int) -> None:
        """So many samples are done: scored now, scored earlier, or not to be drawn."""
        ...


def evaluate(policy: Any, tasks: Any, n: int = 128, **options: Any) -> EvaluationTable:
    """Draw `n` samples per policy and task, run and grade them, and make a table of them.

    Args:
        policy:
            One candidate, a sequence of them, or a mapping from name to candidate: a folder or hub id, `"MODEL@URL"` for an
            OpenAI-compatible endpoint, `"vllm:MODEL"`, a function from chat messages to a completion, `"reference"` or
            `"baseline"` for the tasks' own programs. See [`candidates_of`].
        tasks:
            Tasks, or names that [`load_task`] knows; one or several.
        n (`int`, *optional*, defaults to `128`):
            Samples per policy and task. The tasks' own programs run once.
        **options:
            Those of [`evaluate_async`].

    Raises:
        UserError: a policy or task does not exist, a setting cannot work, or programs cannot run on this machine.

    Example:

    ```python
    table = evaluate({"before": "runs/warm-start", "after": "runs/grpo"}, ["builtin:digits"], n=32, out="evaluations/first")
    print(table.entry("after", "builtin:digits").valid_share)
    ```
    """
    return asyncio.run(evaluate_async(policy, tasks, n, **options))


async def evaluate_async(
    policy: Any,
    tasks: Any,
    n: int = 128,
    *,
    out: Path | str | None = None,
    scorer: ProgramScorer | None = None,
    train_tasks: Iterable[str] | None = None,
    compare_to: str | None = None,
    episode: EpisodeBudget | None = None,
    show_public_score: bool = False,
    overlap: bool | None = None,
    own_limits_s: Mapping[str, float] | None = None,
    progress: Progress | None = None,
    timing: EvaluationTiming | None = None,
    **settings: Any,
) -> EvaluationTable:
    """As [`evaluate`], within an event loop.

    Args:
        out (`Path`, *optional*):
            Folder of the evaluation. A later call with the same folder draws only what is missing, and may add policies, tasks and
            samples. Defaults to a store in memory.
        scorer ([`ProgramScorer`], *optional*):
            Runs and grades programs; opened and closed here. Defaults to one with a local sandbox.
        train_tasks (iterable of `str`, *optional*):
            Ids of the tasks that the policies were trained on. Others are marked as held out.
        compare_to (`str`, *optional*):
            Name of the policy that the others are compared to. Defaults to the first one that is no program of the tasks.
        episode ([`EpisodeBudget`], *optional*):
            What an episode may use, with `mode="agent"`. Defaults to four programs.
        show_public_score (`bool`, *optional*, defaults to `False`):
            Whether an agent is told the public score, see [`MLESpec`].
        overlap, own_limits_s:
            See [`PolicyRun`].
        progress ([`Progress`], *optional*):
            Shows how far it is. Defaults to nothing.
        timing ([`EvaluationTiming`], *optional*):
            Waiting times.
        **settings:
            Fields of [`EvaluationSettings`].
    """
    chosen, candidates, loaded = EvaluationSettings(n=n, **settings), candidates_of(policy), _load(tasks)
    names = [candidate.name for candidate in candidates]
    if compare_to is not None and compare_to not in names:
        raise ConfigError(
            f"`compare_to` is {compare_to!r}, which is none of the policies: {', '.join(map(repr, names))}."
        )
    scorer = scorer or ProgramScorer()
    spec = None
    if chosen.mode == "agent":
        spec = _agents(loaded, scorer, episode, show_public_score)
        scorer = spec.mle_reward.scorer
    with SampleStore(None if out is None else Path(out)) as store:
        _note(store, chosen, candidates, loaded, train_tasks, scorer, spec)
        sampled = [candidate.name for candidate in candidates if candidate.program is None]
        if compare_to is not None or store.note("compare_to") is None:
            store.set_note("compare_to", compare_to or next(iter(sampled), None))
        # What an earlier call could not evaluate, and this one is not asked for, is missing still.
        asked_for = {f"{candidate.name} on {task.id}" for candidate in candidates for task in loaded}
        earlier: dict[str, str] = store.note("problems") or {}
        problems = {name: reason for name, reason in earlier.items() if name not in asked_for}
        async with _opened(scorer, spec):
            with _entered(progress) as bar:
                for candidate in candidates:
                    bar.begin(candidate.name, len(loaded) * (chosen.n if candidate.program is None else 1))
                    kind = PolicyRun if spec is None or candidate.program is not None else partial(AgentRun, spec=spec)
                    run = kind(
                        candidate,
                        loaded,
                        store,
                        scorer,
                        chosen,
                        overlap=overlap,
                        own_limits_s=own_limits_s,
                        timing=timing,
                        tick=bar.advance,
                    )
                    await run.run()
                    problems |= {f"{candidate.name} on {task}": reason for task, reason in run.problems.items()}
        store.set_note("problems", problems)
        return read_table(store)


def _load(tasks: Any) -> list[Task]:
    items = [tasks] if isinstance(tasks, (str, Path, Task)) else list(tasks)
    loaded = [item if isinstance(item, Task) else load_task(item) for item in items]
    ids = [task.id for task in loaded]
    if not ids:
        raise ConfigError("There is no task to evaluate on. Give at least one, such as 'builtin:digits'.")
    if doubled := next((name for name in ids if ids.count(name) > 1), None):
        raise ConfigError(f"The task {doubled!r} is given twice. Leave one out.")
    return loaded


def _note(
    store: SampleStore,
    settings: EvaluationSettings,
    candidates: list[Candidate],
    tasks: list[Task],
    train_tasks: Iterable[str] | None,
    scorer: ProgramScorer,
    spec: MLESpec | None,
) -> None:
    """Keep what a table needs to know, and refuse settings that the samples of the folder were not drawn with."""
    store.claim(EVALUATION)
    now: dict[str, Any] = {**asdict(settings), "reward_split": scorer.config.reward_split}
    if spec is not None:
        now["episode"] = {**asdict(spec.budget), "show_public_score": spec.show_public_score}
    before = store.note("settings")
    if before is not None:
        fixed = (*FIXED, "n", "max_prompt_tokens") if settings.mode == "improve" else FIXED
        for name in fixed:
            if name in now and name in before and before[name] != now[name]:
                raise ConfigError(
                    f"`{name}` is {now[name]!r}, but {store.folder} has samples with {before.get(name)!r}. Give the same value, "
                    "or another folder."
                )
        now["n"] = max(settings.n, before["n"])
    for candidate in candidates:
        store.identify(candidate.name, candidate.identity)
    trained = _trained_on(candidates, train_tasks)
    notes = {note["id"]: note for note in store.note("tasks") or ()}
    digests: dict[str, str] = store.note("digests") or {}
    for task in tasks:
        limit = scorer.limits_for(task).wall_s
        earlier = notes.get(task.id)
        if earlier is not None and earlier["time_limit_s"] != limit:
            raise ConfigError(
                f"The time limit of {task.id} is {limit:g} s, but {store.folder} has samples with "
                f"{earlier['time_limit_s']:g} s. Give the same limit, or another folder."
            )
        digest = task_digest(task)
        if digests.setdefault(task.id, digest) != digest:
            raise ConfigError(
                f"The settings or answers of {task.id} have changed since {store.folder} has samples of it, and old and new "
                "scores cannot be compared. Give another folder."
            )
        held_out = (earlier or {}).get("held_out") if trained is None else task.id not in trained
        notes[task.id] = asdict(TaskNote(task.id, task.metric, task.direction, task.transform, limit, held_out))
    store.set_note("tasks", list(notes.values()))
    store.set_note("digests", digests)
    store.set_note("settings", now)


def _agents(
    tasks: list[Task], scorer: ProgramScorer, episode: EpisodeBudget | None, show_public_score: bool
) -> MLESpec:
    """The environments of agents, with everything that `scorer` scores programs with."""
    return MLESpec(
        {task.id: task for task in tasks},
        budget=episode,
        sandbox=scorer.sandbox,
        instrumenter=scorer.instrumenter,
        reward=scorer.config,
        wall_s=scorer.wall_s,
        memory_bytes=scorer.memory_bytes,
        show_public_score=show_public_score,
    )


@asynccontextmanager
async def _opened(scorer: ProgramScorer, spec: MLESpec | None) -> AsyncIterator[None]:
    """The scorer with its sandbox open. That of environments is opened by their reward."""
    if spec is None:
        async with scorer:
            yield
        return
    try:
        await spec.mle_reward.open()
        yield
    finally:
        await spec.aclose()


def _trained_on(candidates: list[Candidate], train_tasks: Iterable[str] | None) -> set[str] | None:
    """Tasks of the policies' training: those that are named, or those that the policies' own runs name."""
    if train_tasks is not None:
        return set(train_tasks)
    known = [candidate.trained_on for candidate in candidates if candidate.trained_on is not None]
    return {task for tasks in known for task in tasks} if known else None


class _NoProgress:
    def __enter__(self) -> _NoProgress:
        return self

    def __exit__(self, *exc_info: object) -> None:
        return None

    def begin(self, policy: str, samples: int) -> None:
        return None

    def advance(self, samples: int) -> None:
        return None


def _entered(progress: Progress | None) -> AbstractContextManager[Progress]:
    return progress or _NoProgress()  # type: ignore[return-value]
