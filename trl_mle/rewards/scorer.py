"""`ProgramScorer`: the way of a completion from text to [`Outcome`], on one page, without TRL and without a trainer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from trl_mle.config import PoolConfig, RewardConfig, SandboxConfig
from trl_mle.errors import (
    ExtractionError,
    GradingError,
    InfrastructureError,
    SandboxUnavailableError,
    UserError,
    check_is_task,
)
from trl_mle.instrumentation import ASTInstrumenter, fallbacks, new_nonce, parse_metrics, parse_milestones, strip_marks
from trl_mle.instrumentation.base import as_instrumenter
from trl_mle.programs import extract_program
from trl_mle.rewards.shaping import classify, reward_parts
from trl_mle.sandboxes import LocalSandbox, SandboxPool
from trl_mle.sandboxes.base import Sandbox
from trl_mle.tasks import Task
from trl_mle.types import Execution, Grade, InstrumentedProgram, Limits, Milestone, Outcome, Program

logger = logging.getLogger(__name__)

SHORT_COMPLETION = 4000
"""Characters that are searched for a program in less than a millisecond."""
INSTRUMENTATION_S = 300.0
"""Longest time that an instrumenter may take, in seconds, beside the `wait_s` that one with a model may wait for its answer."""


class ProgramScorer:
    """Scores completions: extracts the program, instruments it, runs it in a sandbox and grades its submission.

    Calls of `score` run concurrently. A completion that is hostile, slow or broken costs its own outcome only. Three kinds
    of failure never mix. The policy's fault is a `failure`. A time-out keeps its milestones. An infrastructure fault is a
    `fault` without a reward; the sandbox is asked again only if the program certainly had not started.

    The limits of a program are decided here, by `limits_for`, and nowhere else.

    Args:
        sandbox ([`Sandbox`], *optional*):
            Where programs run. Defaults to `LocalSandbox()`. A sandbox that is no [`SandboxPool`] gets a pool around it, with
            the retries of `reward`.
        instrumenter ([`Instrumenter`], *optional*):
            What inserts the milestone prints. Defaults to `ASTInstrumenter()`. An object with only a method `instrument`,
            synchronous or asynchronous, is accepted.
        reward ([`RewardConfig`], *optional*):
            How an outcome becomes a scalar. Defaults to the paper's numbers.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the sandbox's setting, and that to the task's.
        memory_bytes (`int`, *optional*):
            Limit of resident memory of a program in bytes. Defaults to the sandbox's setting, and that to the task's.

    Example:

    ```python
    async with ProgramScorer(LocalSandbox(workers=4)) as scorer:
        outcomes = await asyncio.gather(*(scorer.score(text, task) for text in completions))
    ```
    """

    def __init__(
        self,
        sandbox: Sandbox | None = None,
        instrumenter: Any = None,
        reward: RewardConfig | None = None,
        *,
        wall_s: float | None = None,
        memory_bytes: int | None = None,
    ):
        self.instrumenter = ASTInstrumenter() if instrumenter is None else instrumenter
        self.config = RewardConfig() if reward is None else reward
        self.sandbox = LocalSandbox() if sandbox is None else sandbox  # type: ignore[assignment]  # the setter makes a pool
        self._instrumentation_s = INSTRUMENTATION_S
        self.wall_s = wall_s
        self.memory_bytes = memory_bytes
        # Checked here: at the first program it would be a fault per completion.
        SandboxConfig(wall_s=wall_s, memory_bytes=memory_bytes)

    @property
    def instrumenter(self) -> Any:
        """What inserts the milestone prints: the object that was given, not the adapter around it."""
        return self._instrumenter

    @instrumenter.setter
    def instrumenter(self, instrumenter: Any) -> None:
        self._adapter = as_instrumenter(instrumenter)
        self._instrumenter = instrumenter

    @property
    def sandbox(self) -> SandboxPool:
        """The pool in front of the sandbox that programs run in. A sandbox that is assigned gets a pool around it."""
        return self._pool

    @sandbox.setter
    def sandbox(self, sandbox: Sandbox) -> None:
        if not isinstance(sandbox, SandboxPool):
            sandbox = SandboxPool(sandbox, PoolConfig(retries=self.config.infrastructure_retries))
        self._pool = sandbox

    async def __aenter__(self) -> ProgramScorer:
        await self.sandbox.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            await self.sandbox.__aexit__(*exc_info)
        finally:
            await self.close_instrumenter()

    async def close_instrumenter(self) -> None:
        """Release what the instrumenter holds. A second call does nothing."""
        await self._adapter.aclose()

    def limits_for(self, task: Task) -> Limits:
        """The limits of a program of `task`: this scorer's where it has some, else the sandbox's, else the task's."""
        limits = self.sandbox.limits_for(task)
        if self.wall_s is not None:
            limits = replace(limits, wall_s=self.wall_s)
        if self.memory_bytes is not None:
            limits = replace(limits, memory_bytes=self.memory_bytes)
        if self.config.early_exit:
            limits = replace(limits, early_exit=self.config.early_exit)
        return limits

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value since the last call, of the instrumenter and of the sandbox."""
        return self._adapter.take_metrics() | self.sandbox.take_metrics()

    async def score(
        self,
        completion: str | list[dict] | Program,
        task: Task,
        group: Hashable = None,
        *,
        limits: Limits | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """The outcome of one completion. An infrastructure fault is an outcome, too, not an exception.

        Args:
            completion (`str`, `list[dict]` or [`Program`]):
                Text or chat messages that hold a program, or a program that needs no extraction.
            task ([`Task`]):
                What the program is to solve.
            group (hashable, *optional*):
                Groups take turns in the sandbox. Completions of one prompt are a group.
            limits ([`Limits`], *optional*):
                What the program may use. Defaults to `limits_for(task)`.
            files (`Mapping[str, bytes]`, *optional*):
                Files in its working directory when it starts, for example `Execution.files` of an earlier program.

        Raises:
            SandboxUnavailableError: the sandbox cannot work on this machine; retrying does not help.
            TaskError: `task` is a name.
        """
        check_is_task(task)
        try:
            program = completion if isinstance(completion, Program) else await _extract(completion)
        except ExtractionError as error:
            return self.not_extracted(task, error.reason)
        try:
            return await self.score_program(program, task, group, limits=limits, files=files)
        except SandboxUnavailableError:
            raise
        except InfrastructureError as error:
            return self._fault(task, program, f"{type(error).__name__}: {error}")
        except Exception as error:  # a bug of this package must cost this row only, and must be seen
            logger.exception("Scoring a completion for %s failed", task.id)
            return self._fault(task, program, f"{type(error).__name__}: {error}")

    async def score_program(
        self,
        program: Program,
        task: Task,
        group: Hashable = None,
        *,
        limits: Limits | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """The outcome of one program, where a fault is an exception.

        Raises:
            InfrastructureError: the instrumenter, the sandbox or the grader failed; nothing is known about the program.
            TaskError: `task` is a name.
        """
        check_is_task(task)
        instrumented = await self._instrument(program)
        execution = await self._execute(instrumented, task, group, limits or self.limits_for(task), files)
        public, private = await self._grade(execution, task)
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
        """The program with marks; as it is, under a reason of its own, if the instrumenter raises or does not end.

        As a fault, the program would escape its penalty, and a policy would learn to write such programs.
        """
        nonce = new_nonce()
        try:
            waits_s = getattr(self._instrumenter, "wait_s", 0.0)
            async with asyncio.timeout(
                self._instrumentation_s + (waits_s if isinstance(waits_s, (int, float)) else 0.0)
            ):
                return await self._adapter.instrument_async(program, nonce)
        except (InfrastructureError, UserError):
            raise
        except Exception as error:
            logger.exception("Instrumentation failed; the program runs as it is")
            reason = f"{type(error).__name__}: {error}"
            return fallbacks.uninstrumented(program, nonce, fallbacks.FAILED, reason)

    async def _execute(
        self,
        instrumented: InstrumentedProgram,
        task: Task,
        group: Hashable,
        limits: Limits,
        files: Mapping[str, bytes] | None,
    ) -> Execution:
        """Run the program and read its marks; only marks that the instrumenter inserted count."""
        execution = await self.sandbox.run(
            instrumented.code, task, limits, source=instrumented.program.code, group=group, files=files
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
        """The rewarded grade and the reported grade. Both are `None` for a program that the sandbox stopped."""
        if execution.status not in ("ok", "error"):
            return None, None
        if execution.submission is None:
            return Grade(None, False, execution.submission_reason or "no submission.csv was written"), None
        try:
            public = await asyncio.to_thread(task.grade, execution.submission, self.config.reward_split)
        except InfrastructureError:
            raise
        except Exception as error:
            raise GradingError(f"grading failed: {error}") from error
        return public, await self._report(execution.submission, task) if public.valid else None

    async def _report(self, submission: bytes, task: Task) -> Grade | None:
        """The grade that is only reported; `None` if it fails twice, because it has no say in what is trained on."""
        for _ in range(2):
            try:
                return await asyncio.to_thread(task.grade, submission, "private")
            except SandboxUnavailableError:
                raise
            except Exception as error:
                logger.warning("The private score of a submission for %s is not known: %s", task.id, error)
        return None

    def not_extracted(self, task: Task, reason: str) -> Outcome:
        """The outcome of a completion without a usable program: a failure that never ran.

        Args:
            reason (`str`):
                Why there is none, as a short identifier.
        """
        parts = reward_parts("failure", 0, None, task.direction, task.transform, self.config)
        return Outcome(
            task_id=task.id,
            kind="failure",
            reward=sum(parts.values()),
            duration_s=None,
            reward_parts=parts,
            extraction_reason=reason,
        )

    def _fault(self, task: Task, program: Program, message: str) -> Outcome:
        logger.warning("A completion for %s could not be scored: %s", task.id, message)
        return Outcome(task_id=task.id, kind="fault", reward=None, duration_s=None, program=program, fault=message)


async def _extract(completion: str | list[dict]) -> Program:
    """The program of a completion. A long text is searched in a thread, so that other completions are scored meanwhile."""
    short = isinstance(completion, str) and len(completion) <= SHORT_COMPLETION
    return extract_program(completion) if short else await asyncio.to_thread(extract_program, completion)


def _is_credible(milestone: str, instrumented: InstrumentedProgram, execution: Execution) -> bool:
    """Whether a mark earns reward.

    Only milestones that the instrumenter inserted count, so a program that reads marks out of its own code objects cannot
    claim others. Predictions count as written only if there is a submission.
    """
    if milestone == Milestone.WROTE_PREDICTIONS and execution.submission is None:
        return False
    return milestone in instrumented.inserted
