"""`Search`: sample, run, keep the best, until the budget is over."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trl_mle.config.base import check_least
from trl_mle.errors import ConfigError
from trl_mle.language_models.client import NoAnswerError
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.solve.attempts import Attempt, AttemptLog, Facts
from trl_mle.solve.best_attempt import BestAttempt
from trl_mle.solve.budget import Deadline
from trl_mle.solve.problem import Problem
from trl_mle.solve.prompting import Prompt, Prompting
from trl_mle.types import Outcome

if TYPE_CHECKING:
    from trl_mle.language_models.sampling import Policy, Sample

logger = logging.getLogger(__name__)

FAULTS = 8
"""Faults of sandbox or grader in a row after which a search ends."""
INTERRUPTED = "interrupted"
REFUSED_S = 0.5
"""Seconds until the next prompt after one that the policy refused."""


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

    def __post_init__(self):
        check_least(self, max_tokens=1, samples_per_prompt=1, attempts=1, answer_failures=1)
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"`temperature` is {self.temperature}; it must be 0 or more.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"`top_p` is {self.top_p}; it must be above 0 and at most 1.")


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
        best ([`BestAttempt`]):
            The best attempt so far.
        settings ([`SearchSettings`]):
            How the policy is sampled.
        on_attempt (`Callable[[Attempt, bool], None]`, *optional*):
            Called after each attempt; the flag says whether it is the best one so far.
        earlier_s (`float`, *optional*, defaults to `0.0`):
            Seconds of earlier sessions. The times of attempts go on from there.
    """

    def __init__(
        self,
        problem: Problem,
        policy: Policy,
        scorer: ProgramScorer,
        log: AttemptLog,
        prompting: Prompting,
        best: BestAttempt,
        settings: SearchSettings,
        on_attempt: Callable[[Attempt, bool], None] = lambda attempt, is_best: None,
        earlier_s: float = 0.0,
    ):
        self.problem, self.policy, self.scorer, self.log = problem, policy, scorer, log
        self.prompting, self.best, self.settings, self.on_attempt = prompting, best, settings, on_attempt
        self.earlier_s = earlier_s
        self._scoring: set[asyncio.Task[None]] = set()
        self._confirming: set[asyncio.Task[None]] = set()
        self._given_up = asyncio.Event()
        self._faults = 0
        self._over: str | None = None
        self._no_answer: NoAnswerError | None = None
        """Why the newest request has no answer; `None` if it has one."""
        self._asked: float | None = None
        """When the request was made that waits for its answer, on the monotonic clock."""
        self._answered = False
        self._ended = False
        """Whether a program of this session has ended."""
        self._error: BaseException | None = None
        self._deadline = Deadline(0.0)

    @property
    def running(self) -> int:
        """Programs that run or wait for the sandbox."""
        return len(self._scoring) + len(self._confirming)

    @property
    def asking_s(self) -> float:
        """Seconds since the request that waits for its answer; 0 without one."""
        return 0.0 if self._asked is None else time.monotonic() - self._asked

    async def run(self, deadline: Deadline, stop: asyncio.Event) -> str:
        """Search until `deadline`, until `stop` is set or until nothing more can be done, and return why it ended.

        When it returns, no program of this search runs. A program that is running on the real files is waited for. Of several
        that wait for it, the best one has its turn; a later session looks at the others.
        """
        if stop.is_set():
            return INTERRUPTED
        self._deadline = deadline
        sampling = asyncio.create_task(self._sample_on())
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(event.wait()) for event in (stop, self._given_up)]
        try:
            await asyncio.wait((sampling, *ends), timeout=deadline.left_s, return_when=asyncio.FIRST_COMPLETED)
            asking_s, running = self.asking_s, len(self._scoring)
            if sampling.done() and self._scoring:
                rest = asyncio.create_task(_all(self._scoring))
                await asyncio.wait((rest, *ends), timeout=deadline.left_s, return_when=asyncio.FIRST_COMPLETED)
                rest.cancel()
                running = len(self._scoring)
        finally:
            for task in (sampling, *ends, *self._scoring):
                task.cancel()
            await asyncio.gather(sampling, *ends, *self._scoring, return_exceptions=True)
            self.best.close()
            await asyncio.gather(*self._confirming, return_exceptions=True)
        if self._error is not None:
            raise self._error
        if not sampling.cancelled() and (error := sampling.exception()) is not None:
            raise error
        if stop.is_set():
            return INTERRUPTED
        cut_off = running > 0 and not self._given_up.is_set() and deadline.left_s == 0
        if self._over is not None and not cut_off:
            return self._over
        return f"the budget is over{self._silence(asking_s, running)}"

    def _silence(self, asking_s: float, running: int) -> str:
        """What the end of the budget says of a policy without an answer, or of programs that were all cut off."""
        if self._no_answer is not None:
            return f", and the policy gives no answers: {self._no_answer}"
        if self._answered and running and not self._ended:
            return (
                f", and none of the {running} programs had ended. A program of this task may take "
                f"{self.problem.task.time_limit_s:g} s; give a larger budget or a shorter time limit"
            )
        if self._answered or not asking_s:
            return ""
        asked = f"{self.settings.samples_per_prompt} completions of at most {self.settings.max_tokens} tokens"
        return f", and the policy has not answered in {asking_s:.0f} s ({asked} per request)"

    async def _sample_on(self) -> None:
        failures, asked = 0, len(self.log)
        while self._over is None:
            prompt = self.prompting.next()
            wanted = self.settings.samples_per_prompt
            if self.settings.attempts is not None:
                # One that has ended is in the log, though its task may still be kept.
                waiting = sum(not task.done() for task in self._scoring)
                wanted = min(wanted, self.settings.attempts - len(self.log) - waiting)
                if wanted < 1:
                    self._over = f"{self.settings.attempts} attempts are made"
                    return
            self._asked = time.monotonic()
            try:
                samples = await self.policy.sample(
                    prompt.messages,
                    wanted,
                    temperature=self.settings.temperature,
                    top_p=self.settings.top_p,
                    max_tokens=self.settings.max_tokens,
                    seed=(self.settings.seed * 1_000_003 + asked) % 2**31,
                )
                failures, self._no_answer, self._answered = 0, None, True
            except NoAnswerError as error:
                self._asked = None
                if error.kind == "refused" and prompt.parent is not None:  # probably too long: another prompt may do
                    await asyncio.sleep(REFUSED_S)
                    continue
                failures, self._no_answer = failures + 1, error
                logger.warning("The policy gave no answer (%d in a row): %s", failures, error)
                if failures >= self.settings.answer_failures:
                    self._over = f"the policy gives no answers: {error}"
                await asyncio.sleep(min(2.0**failures, 30.0))
                continue
            self._asked = None
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
        self._ended = True
        self._faults = self._faults + 1 if outcome.kind == "fault" else 0
        if self._faults >= FAULTS:
            self._give_up(f"the last {FAULTS} programs could not be scored: {outcome.fault}")
        id_ = self.log.add(outcome, prompt.kind, prompt.parent)
        second = self.earlier_s + self._deadline.elapsed_s
        facts = Facts(id_, round(second, 3), self.policy.model, sample.tokens, sample.truncated)
        self.log.note(facts)
        if self.best.is_better(outcome):
            _keep(self._confirming, self._guarded(self._confirm(outcome, facts)))
        else:
            self.on_attempt(self.log.get(id_), False)

    async def _confirm(self, outcome: Outcome, facts: Facts) -> None:
        self.on_attempt(*await self.best.consider(outcome, facts))


async def _all(tasks: Iterable[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def _keep(tasks: set[asyncio.Task[None]], work: Any) -> None:
    """Start `work` and keep it in `tasks` until it ends."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
