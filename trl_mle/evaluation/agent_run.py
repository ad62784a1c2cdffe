"""`AgentRun`: draws and scores what is still missing of one policy's episodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from trl_mle.environments import MLESpec
from trl_mle.evaluation.agent_episode import AgentEpisode
from trl_mle.evaluation.policy_run import Messages, PolicyRun, needs_scoring, together, with_private
from trl_mle.evaluation.sample_store import Place, SampleRecord
from trl_mle.language_models.client import NoAnswerError
from trl_mle.language_models.sampling import Sample, tool_schemas
from trl_mle.tasks import Task

EPISODES = 64
"""Most episodes at the same time, of a policy behind an endpoint."""


class AgentRun(PolicyRun):
    """A [`PolicyRun`] whose samples are episodes in the environment of an [`MLESpec`].

    Without `overlap`, the episodes of a batch go on in step: all of them write, then all of their programs run. An episode that is
    interrupted, or ends in a fault, begins again with the same seed.

    Args:
        spec ([`MLESpec`]):
            Tasks by id, and the budget of an episode. Its reward is open.
    """

    def __init__(self, *args: Any, spec: MLESpec, **options: Any):
        super().__init__(*args, **options)
        self.spec = spec
        self._slots = asyncio.Semaphore(EPISODES)

    @cached_property
    def _tools(self) -> list[dict[str, Any]]:
        environment = self.spec.environment_factory()
        return tool_schemas([environment.run_program, environment.submit])

    def _prompt(self, task: Task, place: Place, parents: Sequence[SampleRecord]) -> Messages | None:
        return self.spec.prompt(task)

    async def _samples(self, task: Task, place: Place, count: int, prompt: Messages) -> None:
        digest = self.store.prompt_hash(place, prompt)
        known = {record.number: record for record in self.store.records(place)}
        missing = [number for number in range(count) if number not in known or needs_scoring(known[number])]
        self._tick(count - len(missing))
        if self.overlap:
            await together(self._alone(task, place, number, prompt, digest) for number in missing)
            return
        size = self._policy().samples_per_request if missing else 1
        for start in range(0, len(missing), size):
            await self._batch(task, place, missing[start : start + size], prompt, digest)

    async def _alone(self, task: Task, place: Place, number: int, prompt: Messages, digest: str) -> None:
        async with self._slots:
            await self._batch(task, place, [number], prompt, digest)

    async def _batch(self, task: Task, place: Place, numbers: Sequence[int], prompt: Messages, digest: str) -> None:
        """Run episodes in step, those that end in a fault once more; each is stored as soon as it has ended."""
        for tries_left in range(self.settings.fault_retries, -1, -1):
            running = {number: self._begin(task, prompt) for number in numbers}
            numbers = []
            while running:
                await together(
                    episode.write(partial(self._message, task, number)) for number, episode in running.items()
                )
                await together(episode.act() for episode in running.values())
                for number in [number for number, episode in running.items() if episode.ended]:
                    if not self._keep(task, place, number, running.pop(number), digest, tries_left):
                        numbers.append(number)
            if not numbers:
                return

    def _begin(self, task: Task, prompt: Messages) -> AgentEpisode:
        environment = self.spec.environment_factory()
        environment.reset(task=task.id, prompt=prompt)
        return AgentEpisode(environment, prompt, self.spec.budget.runs, self.settings.max_tokens)

    async def _message(
        self, task: Task, number: int, messages: Sequence[Mapping[str, Any]], place: int, most: int
    ) -> Sample | None:
        """The policy's next message of an episode; `None` if the conversation has become too long for it."""
        seed = self.settings.seed_of(task.id, "agent", number, message=place)
        if place == 0:
            # A policy that refuses the prompt refuses it in every episode.
            return (await self._ask([dict(message) for message in messages], 1, seed, tools=self._tools))[0]
        try:
            return (await self._answers(messages, 1, seed, most, tools=self._tools))[0]
        except NoAnswerError as error:
            if error.kind == "refused":
                return None
            raise

    def _keep(
        self, task: Task, place: Place, number: int, episode: AgentEpisode, digest: str, tries_left: int
    ) -> bool:
        """Store an episode that has ended; `False` if it is to be run again."""
        outcome = with_private(episode.outcome())
        if self._is_fault(task, outcome) and tries_left:
            return False
        seed = self.settings.seed_of(task.id, "agent", number)
        record = SampleRecord(place, number, seed, episode.sample(), outcome, episode.turns())
        self.store.put_scored(record, digest)
        self._tick(1)
        return True
