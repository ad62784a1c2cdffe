"""`BestAttempt`: which attempt is the best one, and its files."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from trl_mle.comparison import score_of
from trl_mle.errors import InfrastructureError, SandboxError
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.solve.attempts import Attempt, AttemptLog, Facts
from trl_mle.solve.problem import Problem
from trl_mle.solve.result_files import ResultFiles
from trl_mle.tasks import Task
from trl_mle.types import Execution, Limits, Outcome, Program, TaskSpec

logger = logging.getLogger(__name__)

INFRASTRUCTURE = "infrastructure"
"""First word of a reason that says nothing about the program."""
LOOKED_AT = 3
"""Attempts of an earlier session that are looked at again."""
TRIES = 3
"""Runs of a program on the real files, if the sandbox fails."""
REAL_LIMIT = 2.0
"""Wall-clock limit of a program on the real files, as a multiple of the task's: they have all train rows."""


class BestAttempt:
    """The best attempt of a search. A candidate is scored on further splits, if there are some, and runs on the real test file, if
    there is one. Candidates have their turn one after another.

    Args:
        problem ([`Problem`]):
            What is to be solved.
        scorer ([`ProgramScorer`]):
            Runs programs; its context must be open.
        log ([`AttemptLog`]):
            Where attempts are kept.
        files ([`ResultFiles`]):
            Where the best attempt is written.
    """

    def __init__(self, problem: Problem, scorer: ProgramScorer, log: AttemptLog, files: ResultFiles):
        self.problem, self.scorer, self.log, self.files = problem, scorer, log, files
        self.attempt: Attempt | None = log.best()
        """`None` if none was valid yet."""
        self._turn = asyncio.Lock()
        self._waiting: dict[int, float] = {}
        self._is_closing = False
        self._refused: dict[str, str] = {}
        """Program -> what went wrong on the real test file. A policy writes some programs again and again."""

    def close(self) -> None:
        """Let only the best of the candidates that wait have its turn. A later session looks at the others."""
        self._is_closing = True

    async def restore(self, model: str) -> None:
        """Put right what the end of an earlier session has left undone.

        If a kill has left the files of another attempt, the program of the best one runs again, and both files are written. If
        it has no submission any more, the next best one has its turn. Better attempts that nobody has looked at any more are
        looked at now.
        """
        while (attempt := await self._best_by_mean()) is not None and attempt.outcome.program is not None:
            code = attempt.outcome.program.code
            if self.files.belong_to(code):
                break
            submission, reason = await self._submission_of(code, None)
            if submission is not None:
                self.files.write(code, submission)
                break
            logger.warning("The best attempt (%d) was run again without a submission: %s", attempt.id, reason)
            if reason is None or attempt.facts is None or reason.startswith(INFRASTRUCTURE):
                break
            self.log.note(replace(attempt.facts, accepted=False, refused=reason))
            self.attempt = self.log.best()
        open_ = sorted(
            filter(_is_open, self.log), key=lambda attempt: (attempt.score or 0.0, -attempt.id), reverse=True
        )
        for attempt in open_[:LOOKED_AT]:
            if self.is_better(attempt.outcome):
                facts = attempt.facts or Facts(attempt.id, self.log.seconds, model)
                await self.consider(attempt.outcome, facts)

    async def _best_by_mean(self) -> Attempt | None:
        """The best attempt. Those of sessions with one split get the mean by which the others are compared."""
        while self.problem.splits and (best := self.attempt) is not None:
            if best.facts is None or best.facts.mean is not None or best.outcome.program is None:
                break
            mean, wrong = await self._mean_score(best.outcome)
            if wrong is not None and wrong.startswith(INFRASTRUCTURE):
                break
            self.log.note(replace(best.facts, mean=mean, accepted=wrong is None, refused=wrong))
            self.attempt = self.log.best()
        return self.attempt

    def is_better(self, outcome: Outcome) -> bool:
        """Whether an outcome has a higher score than the best attempt, and so is a candidate."""
        score = score_of(outcome)
        return score is not None and (self.attempt is None or self.attempt.score is None or score > self.attempt.score)

    async def consider(self, outcome: Outcome, facts: Facts) -> tuple[Attempt, bool]:
        """Make an attempt the best one, if its mean is better and its program is valid on the real test rows.

        Returns:
            `(Attempt, bool)`: the attempt, and whether it is the best one now.
        """
        assert outcome.program is not None and outcome.execution is not None
        self._waiting[facts.id] = score_of(outcome) or 0.0
        async with self._turn:
            score = self._waiting.pop(facts.id)
            better = self.is_better(outcome)  # another one may have come first
            if self._is_closing and score < max(self._waiting.values(), default=score):
                better = False
            if better and self.problem.splits:
                mean, wrong = await self._mean_score(outcome)
                facts = replace(facts, mean=mean, refused=wrong)
                best = None if self.attempt is None else self.attempt.rank
                better = mean is not None and (best is None or mean > best)
                if not better:  # of a better one only what comes of it is a verdict
                    self.log.note(facts)
            if better:
                code = outcome.program.code
                submission, reason = None, self._refused.get(code)
                if reason is None:
                    submission, reason = await self._submission_of(code, outcome.execution.submission)
                if reason is not None and not reason.startswith(INFRASTRUCTURE):
                    self._refused[code] = reason
                better = submission is not None
                facts = replace(facts, accepted=better, refused=reason)
                self.log.note(facts)
                if submission is not None:
                    self.files.write(code, submission)
            attempt = self.log.get(facts.id)
            if better:
                self.attempt = attempt
        return attempt, better

    async def _mean_score(self, outcome: Outcome) -> tuple[float | None, str | None]:
        """Mean score of a program over all splits, on the scale of the reward, or why there is none."""
        assert outcome.program is not None
        runs = await asyncio.gather(*(self._score_again(outcome.program, task) for task in self.problem.splits))
        scores = [score_of(outcome), *map(score_of, runs)]
        known = [score for score in scores if score is not None]
        if len(known) == len(scores):
            return sum(known) / len(known), None
        if any(run.kind == "fault" for run in runs):
            return None, f"{INFRASTRUCTURE}: it could not be scored on every division"
        return None, "not valid on every division of the rows"

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
            return None, f"{INFRASTRUCTURE}: {error}"
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


def _is_open(attempt: Attempt) -> bool:
    """Whether an attempt is valid, and was neither accepted nor found wanting."""
    facts = attempt.facts
    if attempt.score is None or facts is None:
        return attempt.score is not None
    if facts.refused is not None:
        return facts.refused.startswith(INFRASTRUCTURE)
    return not facts.accepted and facts.mean is None
