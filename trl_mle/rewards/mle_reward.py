"""The TRL reward function: a completion's whole way, from text to reward, on one page."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

from trl_mle.config import PoolConfig, RewardConfig
from trl_mle.errors import (
    ExtractionError,
    GradingError,
    InfrastructureError,
    SandboxError,
    SandboxUnavailableError,
    TaskError,
)
from trl_mle.instrumentation import ASTInstrumenter, new_nonce, parse_metrics, parse_milestones, strip_marks
from trl_mle.instrumentation.base import Instrumenter
from trl_mle.programs import extract_program
from trl_mle.rewards.records import log_metrics, rollout_columns
from trl_mle.rewards.shaping import classify, reward_parts
from trl_mle.sandboxes import LocalSandbox, SandboxPool
from trl_mle.sandboxes.base import Sandbox
from trl_mle.tasks import Task, load_task
from trl_mle.types import Execution, Grade, InstrumentedProgram, Limits, Outcome, Program

logger = logging.getLogger(__name__)

FAULTY_BATCHES = 3
FAULTY_SINGLES = 16
"""Batches in a row without a single scorable completion after which training stops: the infrastructure is down. The second
number counts where a batch is one completion, as with `overlap_execution`."""
_CLOSE_S = 120.0
"""How long `close` waits, in seconds."""


class MLEReward:
    """Asynchronous reward function that runs what the policy wrote and scores it.

    Each completion is taken apart, instrumented, run in a sandbox and graded; completions of a batch go their ways
    concurrently, and one that is hostile, slow or broken costs its own row only. Three kinds of failure never mix: the
    policy's fault is penalised, a time-out keeps its milestones and is counted, and an infrastructure fault is `None`, which
    TRL leaves out of the baseline; it is retried where the program certainly had not started.

    The dataset needs a column `task` with task names (`builtin:digits`, a folder ...). Durations are reported as
    `log_extra("action_duration", seconds)`, together with every part of the outcome.

    Args:
        sandbox ([`Sandbox`], *optional*):
            Where programs run. Defaults to `LocalSandbox()`. It is opened on first use and closed by `close()`. One that is
            no [`SandboxPool`] gets a pool around it, with the retries of `reward`; completions of a prompt are a group.
        instrumenter ([`Instrumenter`], *optional*):
            What inserts the milestone prints. Defaults to `ASTInstrumenter()`.
        reward ([`RewardConfig`], *optional*):
            How an outcome becomes a scalar. Defaults to the paper's numbers.
        tasks (mapping from `str` to [`Task`], *optional*):
            Tasks by name; names that are not in it are loaded with `load_task`.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
    """

    def __init__(
        self,
        sandbox: Sandbox | None = None,
        instrumenter: Instrumenter | None = None,
        reward: RewardConfig | None = None,
        tasks: Mapping[str, Task] | None = None,
        wall_s: float | None = None,
    ):
        self.__name__ = "mle_reward"  # TRL names metrics and columns after it
        self.instrumenter: Instrumenter = ASTInstrumenter() if instrumenter is None else instrumenter
        self.config = RewardConfig() if reward is None else reward
        if not isinstance(sandbox, SandboxPool):
            settings = PoolConfig(retries=self.config.infrastructure_retries)
            sandbox = SandboxPool(LocalSandbox() if sandbox is None else sandbox, settings)
        self.sandbox = sandbox
        """The pool in front of the sandbox that programs run in."""
        self.wall_s = wall_s
        self._tasks = dict(tasks or {})
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[Any] | None = None
        self._faulty_batches = 0

    async def __call__(
        self,
        prompts: list,
        completions: list,
        task: list[str] | None = None,
        log_extra: Callable[[str, list], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """Score a batch of `B` completions.

        Returns:
            `list` of `B` rewards; `None` where an infrastructure fault left the completion unscorable.

        Raises:
            TaskError: the dataset has no column `task`, or it names a task that does not exist.
            SandboxError: the sandbox cannot work here, or nothing could be scored for several batches in a row.
        """
        if task is None:
            raise TaskError("The dataset has no column `task`. Add one with task names such as 'builtin:digits'.")
        tasks = [self.task(name) for name in task]
        await self._open()
        outcomes = await asyncio.gather(
            *(
                self.score(completion, of_task, group=hash((of_task.id, str(prompt))))
                for prompt, completion, of_task in zip(prompts, completions, tasks, strict=True)
            )
        )
        if log_extra is not None:
            for column, values in rollout_columns(outcomes).items():
                log_extra(column, values)
        if log_metric is not None:
            log_metrics(outcomes, log_metric)
            measured = getattr(self.instrumenter, "take_metrics", dict)() | self.sandbox.take_metrics()
            for name, value in measured.items():
                log_metric(name, value)
        self._check_faults(outcomes)
        return [outcome.reward for outcome in outcomes]

    def task(self, name: str) -> Task:
        """The task of that name, loaded once."""
        if name not in self._tasks:
            self._tasks[name] = load_task(name)
        return self._tasks[name]

    async def score(self, completion: str | list[dict], task: Task, group: Hashable = None) -> Outcome:
        """The outcome of one completion; a fault is part of it, not an exception. Groups take turns in the sandbox.

        Raises:
            SandboxUnavailableError: the sandbox cannot work on this machine; retrying does not help.
        """
        try:
            program = extract_program(completion)
        except ExtractionError as error:
            parts = reward_parts("failure", 0, None, task.direction, task.transform, self.config)
            return Outcome(
                task_id=task.id,
                kind="failure",
                reward=sum(parts.values()),
                duration_s=None,
                reward_parts=parts,
                extraction_reason=error.reason,
            )
        try:
            instrumented = await self._instrument(program)
            execution = await self._execute(instrumented, task, group)
            public, private = await self._grade(execution, task)
        except SandboxUnavailableError:
            raise
        except InfrastructureError as error:
            return self._fault(task, program, f"{type(error).__name__}: {error}")
        except Exception as error:  # a bug of ours must cost this row only, and must be seen
            logger.exception("Scoring a completion for %s failed", task.id)
            return self._fault(task, program, f"{type(error).__name__}: {error}")
        kind = classify(execution, public)
        parts = reward_parts(kind, len(execution.milestones), public, task.direction, task.transform, self.config)
        return Outcome(
            task_id=task.id,
            kind=kind,
            reward=sum(parts.values()),
            duration_s=execution.wall_s,
            reward_parts=parts,
            program=program,
            instrumented=instrumented,
            execution=execution,
            public=public,
            private=private,
        )

    async def _instrument(self, program: Program) -> InstrumentedProgram:
        instrument = self.instrumenter.instrument
        if inspect.iscoroutinefunction(instrument):
            return await instrument(program, new_nonce())
        result = await asyncio.to_thread(instrument, program, new_nonce())  # a long program takes a while to parse
        return await result if inspect.isawaitable(result) else result

    async def _execute(self, instrumented: InstrumentedProgram, task: Task, group: Hashable) -> Execution:
        """Run the program, and believe of its marks what can be believed."""
        limits = Limits.for_task(task, self.wall_s)
        execution = await self.sandbox.run(
            instrumented.code, task, limits, source=instrumented.program.code, group=group
        )
        return replace(
            execution,
            milestones=tuple(
                name
                for name in parse_milestones(execution.stdout, instrumented.nonce)
                if _is_credible(name, instrumented, execution)
            ),
            metrics={
                name: value
                for name, value in parse_metrics(execution.stdout, instrumented.nonce)
                if name in instrumented.metrics
            },
            stdout=strip_marks(execution.stdout, instrumented.nonce),
        )

    async def _grade(self, execution: Execution, task: Task) -> tuple[Grade | None, Grade | None]:
        """The rewarded grade and the reported one; `None` for a program that was stopped or that wrote nothing."""
        if execution.status not in ("ok", "error"):
            return None, None
        if execution.submission is None:
            return Grade(None, False, execution.submission_reason or "no submission.csv was written"), None
        try:
            public = await asyncio.to_thread(task.grade, execution.submission, self.config.reward_split)
            private = await asyncio.to_thread(task.grade, execution.submission, "private") if public.valid else None
        except InfrastructureError:
            raise
        except Exception as error:
            raise GradingError(f"grading failed: {error}") from error
        return public, private

    def _fault(self, task: Task, program: Program, words: str) -> Outcome:
        logger.warning("A completion for %s could not be scored: %s", task.id, words)
        return Outcome(task_id=task.id, kind="fault", reward=None, duration_s=None, program=program, fault=words)

    def _check_faults(self, outcomes: list[Outcome]) -> None:
        faults = [outcome.fault for outcome in outcomes if outcome.fault is not None]
        self._faulty_batches = self._faulty_batches + 1 if outcomes and len(faults) == len(outcomes) else 0
        if self._faulty_batches >= (FAULTY_BATCHES if len(outcomes) > 1 else FAULTY_SINGLES):
            (words, _), *_ = Counter(faults).most_common(1)
            raise SandboxError(
                f"No completion of the last {self._faulty_batches} batches could be scored. Last: {words}"
            )

    async def _open(self) -> None:
        """Open the sandbox once, in the event loop that the trainer runs reward functions in.

        Calls may come while it opens, each with a completion of its own (`overlap_execution`): all wait for the first one's,
        which goes on if that call is cancelled.
        """
        if self._opening is None:
            self._loop = asyncio.get_running_loop()
            self._opening = self._loop.create_task(self.sandbox.__aenter__())
        await asyncio.shield(self._opening)

    def close(self) -> None:
        """Close the sandbox and the instrumenter. Safe to call twice, and from any thread but the event loop's.

        What fails then is logged: a sandbox that cannot be closed must not cost the model that was trained.
        """
        loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(self._shut(), loop).result(timeout=_CLOSE_S)
            elif not loop.is_closed():
                loop.run_until_complete(asyncio.wait_for(self._shut(), _CLOSE_S))
        except TimeoutError:
            logger.error("The sandbox was not closed within %g s; what it runs may be left", _CLOSE_S)
        except Exception:
            logger.exception("The sandbox could not be closed; what it runs may be left")

    async def aclose(self) -> None:
        """`close` for the event loop's own thread; raises what fails."""
        self._loop = None
        await self._shut()

    async def _shut(self) -> None:
        opening, self._opening = self._opening, None
        try:
            if opening is not None and await _went_well(opening):
                await self.sandbox.__aexit__(None, None, None)
        finally:
            if (aclose := getattr(self.instrumenter, "aclose", None)) is not None:
                await aclose()

    def model_card_sections(self) -> dict[str, str]:
        """Title -> Markdown: the tasks and the reward settings, for the model card."""
        tasks = "".join(
            f"- `{task.id}`: {task.title} ({task.metric}, {task.direction})\n" for task in self._tasks.values()
        )
        reward = (
            f"- a failed program: {self.config.failure_reward:g}, plus {self.config.milestone_reward:g} for each of the "
            "milestones that it reached\n"
            f"- a valid submission: its score on the {self.config.reward_split} part of the answers, in [-1, 1]\n"
        )
        return {"Tasks": tasks, "Reward": reward}


async def _went_well(task: asyncio.Task[Any]) -> bool:
    await asyncio.wait([task])
    return not task.cancelled() and task.exception() is None


def _is_credible(milestone: str, instrumented: InstrumentedProgram, execution: Execution) -> bool:
    """Whether a mark may count: one that a program finds by inspecting itself pays no more than its code could earn."""
    if milestone == "wrote_predictions" and execution.submission is None:
        return False
    return milestone in instrumented.inserted
