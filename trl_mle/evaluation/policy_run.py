"""`PolicyRun`: draws and scores what is still missing of one policy's samples.

Samples are stored before they are scored, and outcomes as soon as they are known. What a kill interrupts is done again; the rest
is not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trl_mle.comparison import score_of
from trl_mle.errors import ConfigError, InfrastructureError, ParentNotShownError
from trl_mle.evaluation.candidates import Candidate
from trl_mle.evaluation.sample_store import Place, SampleRecord, SampleStore
from trl_mle.evaluation.settings import EvaluationSettings, EvaluationTiming
from trl_mle.language_models.client import NoAnswerError
from trl_mle.language_models.sampling import Policy, Sample
from trl_mle.prompts import PromptBudget, build_prompt
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.tasks import Task
from trl_mle.types import Outcome, Program

logger = logging.getLogger(__name__)

FAULTS = 12
"""Infrastructure faults in a row, without a single scored sample of the task between, after which the task is given up."""

Messages = list[dict[str, str]]


class GivenUpError(InfrastructureError):
    """A task, or a policy, cannot be evaluated now. The evaluation goes on with the others, and can be resumed."""


class PolicyRun:
    """The evaluation of one candidate on several tasks.

    Args:
        candidate ([`Candidate`]):
            What is evaluated.
        tasks (sequence of [`Task`]):
            Tasks.
        store ([`SampleStore`]):
            Where samples are kept.
        scorer ([`ProgramScorer`]):
            Runs and grades programs; its context is open.
        settings ([`EvaluationSettings`]):
            Which samples.
        overlap (`bool`, *optional*):
            Whether programs run while the policy writes. Defaults to whether the model runs elsewhere: beside a model in this
            process, programs would be slower than in training.
        own_limits_s (mapping from task id to `float`, *optional*):
            Wall-clock limits of the tasks' own programs, where they differ from those of the samples.
        timing ([`EvaluationTiming`], *optional*):
            Waiting times.
        tick (callable, *optional*):
            Called after each sample that is scored, with the number of samples that no longer need to be.
    """

    def __init__(
        self,
        candidate: Candidate,
        tasks: Sequence[Task],
        store: SampleStore,
        scorer: ProgramScorer,
        settings: EvaluationSettings,
        *,
        overlap: bool | None = None,
        own_limits_s: Mapping[str, float] | None = None,
        timing: EvaluationTiming | None = None,
        tick: Callable[[int], None] | None = None,
    ):
        self.candidate = candidate
        self.tasks = tasks
        self.store = store
        self.scorer = scorer
        self.settings = settings
        self.overlap = not candidate.in_process if overlap is None else overlap
        self.own_limits_s = own_limits_s or {}
        self.timing = timing or EvaluationTiming()
        self.problems: dict[str, str] = {}
        """Task id -> why it was given up."""
        self._tick = tick or (lambda samples: None)
        self._opened: Policy | None = None
        self._answered = time.monotonic()
        self._done: set[str] = set()
        """Ids of the tasks that nothing is missing of any more."""
        self._faults: Counter[str] = Counter()
        """Task id -> faults in a row."""

    async def run(self) -> None:
        """Draw and score what is missing.

        Raises:
            UserError: the policy cannot be opened, or the samples in the store have other prompts.
            SandboxUnavailableError: programs cannot run on this machine.
        """
        try:
            if self.overlap:
                await together(self._task(task) for task in self.tasks)
            else:
                for task in self.tasks:
                    await self._task(task)
        except NoAnswerError as error:
            for task in (task for task in self.tasks if task.id not in self._done):
                self.problems.setdefault(task.id, f"the policy {self.candidate.name!r} does not answer: {error}")
        finally:
            if self._opened is not None:
                await self._opened.aclose()

    async def _task(self, task: Task) -> None:
        await self._guarded(task, self._own_program(task) if self.candidate.program is not None else self._kinds(task))

    async def _guarded(self, task: Task, work: Awaitable[Any]) -> None:
        """Await `work`; a task that is given up ends it."""
        try:
            await work
            self._done.add(task.id)
        except GivenUpError as error:
            self.problems[task.id] = str(error)

    async def _kinds(self, task: Task) -> None:
        """The samples of every kind of prompt, in order: a later kind may show an earlier sample."""
        parents: list[SampleRecord] = []
        for kind, count in self.settings.counts().items():
            place = Place(self.candidate.name, task.id, kind)
            prompt = self._prompt(task, place, parents)
            if prompt is None:  # nothing valid to improve, or nothing that fits into a prompt
                self._tick(count)
                continue
            await self._samples(task, place, count, prompt)
            parents = self.store.records(place)

    def _prompt(self, task: Task, place: Place, parents: Sequence[SampleRecord]) -> Messages | None:
        """The prompt of a place; `None` if there is nothing to improve."""
        if place.kind != "improve":
            return build_prompt(task)
        # Samples that were lost to a fault may have been scored since. What is improved stays.
        if (begun := self.store.prompt(place)) is not None:
            return begun
        scored = [
            (score, -record.number, record)
            for record in parents
            if record.outcome is not None and (score := score_of(record.outcome)) is not None
        ]
        if not scored:
            return None
        parent = max(scored, key=lambda item: item[:2])[2].outcome
        try:
            return build_prompt(task, parent, budget=self._budget())
        except ParentNotShownError as error:
            logger.warning("%s: %s has no samples that improve a program: %s", task.id, self.candidate.name, error)
            return None

    def _budget(self) -> PromptBudget | None:
        """The most tokens of a prompt that shows an earlier program; `None` if tokens cannot be counted."""
        policy = self._policy()
        if policy.count_tokens([{"role": "user", "content": ""}]) is None:
            return None
        context = getattr(policy, "context_tokens", None)
        tokens = self.settings.max_prompt_tokens or (None if context is None else context - self.settings.max_tokens)
        if tokens is None:
            return None
        return PromptBudget(
            max(1, tokens), lambda prompt: policy.count_tokens(prompt) or 0, getattr(policy, "special_tokens", ())
        )

    async def _samples(self, task: Task, place: Place, count: int, prompt: Messages) -> None:
        """Draw and score the samples of a place up to `count`."""
        digest = self.store.prompt_hash(place, prompt)
        known = self.store.records(place)
        unscored = [record for record in known if record.number < count and needs_scoring(record)]
        self._tick(sum(record.number < count for record in known) - len(unscored))
        missing = sorted(set(range(count)) - {record.number for record in known})
        blocks = _blocks(missing, self._policy().samples_per_request if missing else 1)
        if self.overlap:
            await together(
                [*(self._score(task, record) for record in unscored)]
                + [self._block(task, place, block, prompt, digest) for block in blocks]
            )
            return
        drawn = await together(self._draw(task, place, block, prompt, digest) for block in blocks)
        await together(
            self._score(task, record) for record in [*unscored, *(item for block in drawn for item in block)]
        )

    async def _block(self, task: Task, place: Place, block: range, prompt: Messages, digest: str) -> None:
        records = await self._draw(task, place, block, prompt, digest)
        await together(self._score(task, record) for record in records)

    async def _draw(self, task: Task, place: Place, block: range, prompt: Messages, digest: str) -> list[SampleRecord]:
        """Samples with consecutive numbers, stored before they are returned."""
        seeds = [self.settings.seed_of(task.id, place.kind, number) for number in block]
        samples = await self._ask(prompt, len(block), seeds[0])
        self.store.add(place, block, seeds, samples, digest)
        return [
            SampleRecord(place, number, seed, sample, None)
            for number, seed, sample in zip(block, seeds, samples, strict=True)
        ]

    async def _ask(self, prompt: Messages, n: int, seed: int, **options: Any) -> list[Sample]:
        """`n` completions of a prompt."""
        try:
            return await self._answers(prompt, n, seed, **options)
        except NoAnswerError as error:
            if error.kind != "refused":
                raise
            raise GivenUpError(f"the policy {self.candidate.name!r} refuses the prompt: {error}") from error

    async def _answers(
        self, messages: Sequence[Mapping[str, Any]], n: int, seed: int, max_tokens: int | None = None, **options: Any
    ) -> list[Sample]:
        """`n` completions, with patience for a policy that does not answer for a while."""
        # Between two requests programs may have run for longer than an outage may last.
        asked = time.monotonic()
        while True:
            try:
                samples = await self._policy().sample(
                    messages,
                    n,
                    temperature=self.settings.temperature,
                    top_p=self.settings.top_p,
                    max_tokens=max_tokens or self.settings.max_tokens,
                    seed=seed,
                    **options,
                )
            except NoAnswerError as error:
                is_over = time.monotonic() - max(asked, self._answered) > self.timing.outage_s
                if error.kind == "refused" or error.permanent or is_over:
                    raise
                await asyncio.sleep(self.timing.pause_s)
                continue
            if len(samples) != n:
                raise ConfigError(
                    f"The policy {self.candidate.name!r} has written {len(samples)} samples instead of {n}."
                )
            self._answered = time.monotonic()
            return samples

    async def _own_program(self, task: Task) -> None:
        """Run the task's own program once, as if it were a sample; once more if the program has changed."""
        place = Place(self.candidate.name, task.id, "program")
        path = task.reference if self.candidate.program == "reference" else task.baseline
        known = self.store.records(place)
        if path is not None:
            sample = Sample(path.read_text(encoding="utf-8-sig"), None, False, 0.0)
            if [record.sample.text for record in known] != [sample.text]:
                self.store.put_scored(SampleRecord(place, 0, 0, sample, None), None)
                known = self.store.records(place)
        if known and needs_scoring(known[0]):
            await self._score(task, known[0])
        else:
            self._tick(1)

    async def _score(self, task: Task, record: SampleRecord) -> None:
        """Score a sample, again after a fault, and store its outcome."""
        place = record.place
        text: Any = record.sample.text
        options: dict[str, Any] = {}
        if place.kind == "program":
            text = Program("", text)
            if (limit_s := self.own_limits_s.get(task.id)) is not None:
                options["limits"] = replace(self.scorer.limits_for(task), wall_s=limit_s)
        outcome: Outcome | None = None
        for _ in range(1 + self.settings.fault_retries):
            outcome = with_private(await self.scorer.score(text, task, group=hash(place), **options))
            if not self._is_fault(task, outcome):
                break
        assert outcome is not None
        self.store.set_outcome(place, record.number, outcome)
        self._tick(1)

    def _is_fault(self, task: Task, outcome: Outcome) -> bool:
        """Whether nothing is known about a sample. Raises `GivenUpError` after many of them in a row."""
        if outcome.kind != "fault":
            self._faults[task.id] = 0
            return False
        self._faults[task.id] += 1
        if self._faults[task.id] >= FAULTS:
            raise GivenUpError(f"no program could be scored {FAULTS} times in a row; the last fault: {outcome.fault}")
        return True

    def _policy(self) -> Policy:
        """The policy, opened when it is first needed: a finished evaluation loads no model."""
        if self._opened is None:
            assert self.candidate.open is not None
            self._opened = self.candidate.open()
            self._answered = time.monotonic()
        return self._opened


def with_private(outcome: Outcome) -> Outcome:
    """The outcome; a fault if its private part could not be graded, which is what an evaluation tells."""
    if outcome.kind != "valid" or outcome.private is not None:
        return outcome
    return Outcome(
        outcome.task_id, "fault", None, outcome.duration_s, program=outcome.program, fault="no private grade"
    )


def needs_scoring(record: SampleRecord) -> bool:
    return record.outcome is None or record.outcome.kind == "fault"


def _blocks(numbers: Sequence[int], size: int) -> list[range]:
    """`numbers`, in rising order, as ranges of at most `size` consecutive ones."""
    blocks: list[range] = []
    for number in numbers:
        if blocks and blocks[-1].stop == number and len(blocks[-1]) < size:
            blocks[-1] = range(blocks[-1].start, number + 1)
        else:
            blocks.append(range(number, number + 1))
    return blocks


async def together(awaitables: Iterable[Awaitable[Any]]) -> list[Any]:
    """The results of `awaitables`, which run at the same time. The first error cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(item)) for item in awaitables]
    except BaseExceptionGroup as errors:
        error: BaseException = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
    return [task.result() for task in tasks]


async def _awaited(item: Awaitable[Any]) -> Any:
    return await item
