"""`Search`: sample, run, keep the best, until the budget is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trl_mle.comparison import score_of
from trl_mle.errors import InfrastructureError, SandboxError
from trl_mle.language_models.client import NoAnswerError
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.solve.attempts import Attempt, AttemptLog, Facts
from trl_mle.solve.budget import Deadline
from trl_mle.solve.problem import Problem
from trl_mle.solve.prompting import Prompt, Prompting
from trl_mle.solve.result_files import ResultFiles
from trl_mle.tasks import Task
from trl_mle.types import Execution, Limits, Outcome, Program, TaskSpec

if TYPE_CHECKING:
    from trl_mle.language_models.sampling import Policy, Sample

logger = logging.getLogger(__name__)

FAULTS = 8
"""Faults of sandbox or grader in a row after which a search ends."""
REFUSED_S = 0.5
"""Seconds until the next prompt after one that the policy refused."""
TRIES = 3
"""Runs of a program on the real files, if the sandbox fails."""
REAL_LIMIT = 2.0
"""Wall-clock limit of a program on the real files, as a multiple of the task's: they have all train rows."""


@dataclass(frozen=True)
class SearchSettings:
    """How a policy is sampled.

    Args:
        temperature (`float`, *optional*, defaults to `1.0`):
            Temperature.
        top_p (`float`, *optional*, defaults to `1.0`):
            Share of the probability that is sampled from.
        max_tokens (`int`, *optional*, defaults to `2048`):
            Longest completion, in tokens.
        samples_per_prompt (`int`, *optional*, defaults to `4`):
            Completions of one prompt.
        attempts (`int`, *optional*):
            Attempts after which the search ends, earlier sessions included. Defaults to no limit.
        answer_failures (`int`, *optional*, defaults to `5`):
            Requests without an answer, in a row, after which the search ends.
        improve_share (`float`, *optional*, defaults to `0.6`):
            Share of prompts that show a valid program.
        debug_share (`float`, *optional*, defaults to `0.1`):
            Share of prompts that show a program that failed. The rest are from scratch.
        seed (`int`, *optional*, defaults to `0`):
            Seed of samples and of prompts.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 2048
    samples_per_prompt: int = 4
    attempts: int | None = None
    answer_failures: int = 5
    improve_share: float = 0.6
    debug_share: float = 0.1
    seed: int = 0


class Search:
    """One session of a search. Attempts of earlier sessions are in `log`.

    Sampling and running overlap: while programs run, the next prompt is answered.

    Args:
        problem ([`Problem`]):
            What is to be solved.
        policy ([`Policy`]):
            Who writes the programs.
        scorer ([`ProgramScorer`]):
            Runs and grades them; its context must be open.
        log ([`AttemptLog`]):
            Where attempts are kept.
        prompting ([`Prompting`]):
            Which prompt comes next.
        files ([`ResultFiles`]):
            Where the best attempt is written.
        settings ([`SearchSettings`]):
            How the policy is sampled.
        on_attempt (`Callable[[Attempt, bool], None]`, *optional*):
            Called after each attempt; the flag says whether it is the best one so far.
    """

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        scorer: ProgramScorer,
        log: AttemptLog,
        prompting: Prompting,
        files: ResultFiles,
        settings: SearchSettings,
        on_attempt: Callable[[Attempt, bool], None] = lambda attempt, is_best: None,
    ):
        self.problem, self.policy, self.scorer, self.log = problem, policy, scorer, log
        self.prompting, self.files, self.settings, self.on_attempt = prompting, files, settings, on_attempt
        self.best: Attempt | None = log.best()
        self._earlier_s = log.seconds
        self._scoring: set[asyncio.Task[None]] = set()
        self._confirming: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._given_up = asyncio.Event()
        self._faults = 0
        self._over: str | None = None
        self._error: BaseException | None = None
        self._deadline = Deadline(0.0)

    @property
    def running(self) -> int:
        """Programs that run or wait for the sandbox."""
        return len(self._scoring) + len(self._confirming)

    async def restore(self) -> None:
        """Write the files of the best attempt again, if a kill has left those of another one. Its program runs once more."""
        if self.best is None or self.best.outcome.program is None:
            return
        code = self.best.outcome.program.code
        if self.files.belong_to(code):
            return
        submission, reason = await self._submission_of(code, None)
        if submission is not None:
            self.files.write(code, submission)
        else:
            logger.warning("The best attempt (%d) was run again and is not valid: %s", self.best.id, reason)
            self.best = None

    async def run(self, deadline: Deadline, stop: asyncio.Event) -> str:
        """Search until `deadline`, until `stop` is set or until nothing more can be done, and return why it ended.

        When it returns, no program of this search runs. A program that is running on the real files is waited for.
        """
        self._deadline = deadline
        sampling = asyncio.create_task(self._sample_on())
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(event.wait()) for event in (stop, self._given_up)]
        try:
            await asyncio.wait((sampling, *ends), timeout=deadline.left_s, return_when=asyncio.FIRST_COMPLETED)
            if sampling.done() and self._scoring:
                rest = asyncio.create_task(_all(self._scoring))
                await asyncio.wait((rest, *ends), timeout=deadline.left_s, return_when=asyncio.FIRST_COMPLETED)
                rest.cancel()
        finally:
            for task in (sampling, *ends, *self._scoring):
                task.cancel()
            await asyncio.gather(sampling, *ends, *self._scoring, return_exceptions=True)
            await asyncio.gather(*self._confirming, return_exceptions=True)
        if self._error is not None:
            raise self._error
        if not sampling.cancelled() and (error := sampling.exception()) is not None:
            raise error
        return "interrupted" if stop.is_set() else self._over or "the budget is over"

    async def _sample_on(self) -> None:
        failures, asked = 0, len(self.log)
        while self._over is None:
            prompt = self.prompting.next()
            wanted = self.settings.samples_per_prompt
            if self.settings.attempts is not None:
                wanted = min(wanted, self.settings.attempts - len(self.log) - len(self._scoring))
                if wanted < 1:
                    self._over = f"{self.settings.attempts} attempts are made"
                    return
            try:
                samples = await self.policy.sample(
                    prompt.messages,
                    wanted,
                    temperature=self.settings.temperature,
                    top_p=self.settings.top_p,
                    max_tokens=self.settings.max_tokens,
                    seed=(self.settings.seed * 1_000_003 + asked) % 2**31,
                )
                failures = 0
            except NoAnswerError as error:
                if error.kind == "refused" and prompt.parent is not None:  # probably too long: another prompt may do
                    await asyncio.sleep(REFUSED_S)
                    continue
                failures += 1
                logger.warning("The policy gave no answer (%d in a row): %s", failures, error)
                if failures >= self.settings.answer_failures:
                    self._over = f"the policy gives no answers: {error}"
                await asyncio.sleep(min(2.0**failures, 30.0))
                continue
            asked += wanted
            for sample in samples:
                _keep(self._scoring, self._guarded(self._attempt(sample, prompt)))
            await self._room()

    async def _room(self) -> None:
        """Wait until few enough programs are waiting, so that prompts know of recent attempts."""
        most = self.scorer.sandbox.workers + self.settings.samples_per_prompt
        while len(self._scoring) >= most:
            await asyncio.wait(self._scoring, return_when=asyncio.FIRST_COMPLETED)

    async def _guarded(self, work: Awaitable[None]) -> None:
        """An error of the search itself, such as a full disk, ends it and is raised by `run`."""
        try:
            await work
        except Exception as error:
            self._error = self._error or error
            self._give_up("an error")

    def _give_up(self, reason: str) -> None:
        """End the search without waiting for the programs that run."""
        self._over = self._over or reason
        self._given_up.set()

    async def _attempt(self, sample: Sample, prompt: Prompt) -> None:
        outcome = await self.scorer.score(sample.text, self.problem.task, group=prompt.parent)
        self._faults = self._faults + 1 if outcome.kind == "fault" else 0
        if self._faults >= FAULTS:
            self._give_up(f"the last {FAULTS} programs could not be scored: {outcome.fault}")
        id_ = self.log.add(outcome, prompt.kind, prompt.parent)
        second = self._earlier_s + self._deadline.elapsed_s
        facts = Facts(id_, round(second, 3), self.policy.model, sample.tokens, sample.truncated)
        self.log.note(facts)
        if self._is_better(outcome):
            _keep(self._confirming, self._guarded(self._confirm(outcome, facts)))
        else:
            self.on_attempt(self.log.get(id_), False)

    def _is_better(self, outcome: Outcome) -> bool:
        score = score_of(outcome)
        return score is not None and (self.best is None or self.best.score is None or score > self.best.score)

    async def _confirm(self, outcome: Outcome, facts: Facts) -> None:
        """Make an attempt the best one, if its program is valid on the real test rows."""
        assert outcome.program is not None and outcome.execution is not None
        async with self._turn:
            better = self._is_better(outcome)  # another one may have come first
            if better and self.problem.splits:
                mean = await self._mean_score(outcome)
                facts = replace(facts, mean=mean)
                self.log.note(facts)
                best = None if self.best is None else self.best.rank
                better = mean is not None and (best is None or mean > best)
            if better:
                code = outcome.program.code
                submission, reason = await self._submission_of(code, outcome.execution.submission)
                better = submission is not None
                facts = replace(facts, accepted=better, refused=reason)
                self.log.note(facts)
                if submission is not None:
                    self.files.write(code, submission)
            attempt = self.log.get(facts.id)
            if better:
                self.best = attempt
        self.on_attempt(attempt, better)

    async def _mean_score(self, outcome: Outcome) -> float | None:
        """Mean score of a program over all splits, on the scale of the reward; `None` if it is not valid on each."""
        assert outcome.program is not None
        runs = (self._score_again(outcome.program, task) for task in self.problem.splits)
        scores = [score_of(outcome), *map(score_of, await asyncio.gather(*runs))]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if len(known) == len(scores) else None

    async def _score_again(self, program: Program, task: Task) -> Outcome:
        outcome = await self.scorer.score(program, task)
        for _ in range(TRIES - 1):
            if outcome.kind != "fault":
                break
            outcome = await self.scorer.score(program, task)
        return outcome

    async def _submission_of(self, code: str, known: bytes | None) -> tuple[bytes | None, str | None]:
        """The submission of a program for the rows that the user wants predicted, or why there is none.

        Args:
            known (`bytes`):
                Its submission for the task of the search, if it ran there.
        """
        real, task = self.problem.real, self.problem.task
        if real is None and known is not None:
            return known, None
        limits = self.scorer.limits_for(task)
        if real is not None:
            limits = replace(limits, wall_s=limits.wall_s * REAL_LIMIT)
        try:
            execution = await self._run(code, real.spec if real is not None else task, limits)
        except InfrastructureError as error:
            return None, f"infrastructure: {error}"
        if execution.status == "timeout":
            reason: str | None = "out of time"
        elif real is not None:
            reason = real.wrong_form(execution.submission)
        else:
            reason = task.grade(execution.submission or b"", "public").reason
        if reason is not None:
            return None, f"on the real test file: {reason}" if real is not None else reason
        return execution.submission, None

    async def _run(self, code: str, task: TaskSpec, limits: Limits) -> Execution:
        """Run a program that is known to be good. After a fault it runs again: nothing is learned from it, so that is no harm."""
        for _ in range(TRIES - 1):
            try:
                return await self.scorer.sandbox.run(code, task, limits)
            except SandboxError as error:
                logger.warning("The best program is run again after a fault of the sandbox: %s", error)
        return await self.scorer.sandbox.run(code, task, limits)


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _keep(tasks: set[asyncio.Task[None]], work: Any) -> None:
    """Start `work` and keep it in `tasks` until it ends."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
