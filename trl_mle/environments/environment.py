"""`MLEEnvironment`: the tools of an agent, for one rollout at a time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

from trl_mle.config import EpisodeBudget
from trl_mle.environments.episode import Episode
from trl_mle.environments.observation import FAULT, NOT_SUBMITTED, SUBMITTED, Observer
from trl_mle.environments.running import NO_TOOL_CALL, RunningEpisode
from trl_mle.errors import ConfigError, ExtractionError, SandboxUnavailableError, TaskError
from trl_mle.programs import program_of_argument
from trl_mle.rewards import MLEReward
from trl_mle.types import Outcome, Program

logger = logging.getLogger(__name__)

SHORT = 4000
"""Characters of a program that are looked at in less than a millisecond."""


class MLEEnvironment:
    """An environment of TRL's `environment_factory`, in which an agent runs programs, reads what they did, and submits.

    TRL makes one environment per rollout of a batch and uses it again for later batches. Its public methods, except `reset` and
    `get_reward`, are the tools; their docstrings are what a policy reads. All environments of a [`MLESpec`] share one sandbox.

    Two calls of the same rollout run one after another. Calls of different rollouts run at the same time.

    Args:
        reward ([`MLEReward`]):
            Scores the programs, and knows the tasks by name.
        budget ([`EpisodeBudget`], *optional*):
            What a rollout may use.
        show_public_score (`bool`, *optional*, defaults to `False`):
            Whether observations have the score on the public part of the answers, which decides the reward.
        special_tokens (`tuple[str, ...]`, *optional*):
            Special tokens of the policy's tokenizer: no observation holds one.

    Example:

    ```python
    environment = MLESpec("builtin:digits").environment_factory()
    environment.reset(task="builtin:digits")
    print(await environment.run_program("print(1)"))
    print(environment.get_reward())
    ```
    """

    def __init__(
        self,
        reward: MLEReward,
        budget: EpisodeBudget | None = None,
        *,
        show_public_score: bool = False,
        special_tokens: tuple[str, ...] = (),
    ):
        self._reward = reward
        self._budget = EpisodeBudget() if budget is None else budget
        self._observer = Observer(self._budget, show_public_score, special_tokens)
        self._episode: RunningEpisode | None = None

    @property
    def episode(self) -> Episode:
        """The rollout since the last `reset`.

        Raises:
            ConfigError: `reset` was not called.
        """
        return self._current().record()

    def reset(self, **row: Any) -> None:
        """Begin a rollout.

        Args:
            row:
                A row of the data set. `task` is the name of its task.

        Raises:
            TaskError: the row has no `task`, or there is none of that name.
        """
        name = row.get("task")
        if not isinstance(name, str):
            raise TaskError(
                f"The row has `task` {name!r}; the data set needs a column `task` with names such as 'builtin:digits'."
            )
        task, scorer = self._reward.task(name), self._reward.scorer
        group = hash((task.id, str(row.get("prompt"))))
        nothing = scorer.not_extracted(task, NO_TOOL_CALL)
        self._episode = RunningEpisode(task, group, self._budget, scorer.limits_for(task).wall_s, nothing)

    async def run_program(self, code: str) -> str:
        """
        Runs one complete Python program. It must write submission.csv into the working directory.

        Args:
            code: The whole program.

        Returns:
            Whether the submission is valid, the steps reached, what was printed, the seconds it took, and the budget left.
        """
        episode = self._current()
        arguments = {"code": code}
        async with episode.lock:
            reason = episode.refusal
            if reason is not None:
                text = self._observer.refused(reason, episode)
                return episode.add_turn("run_program", arguments, text, refused=reason)
            episode.take_run()
            try:
                program = await _read(code)
            except ExtractionError as error:
                episode.take_unreadable(self._reward.scorer.not_extracted(episode.task, error.reason))
                text = self._observer.refused(error.reason, episode)
                return episode.add_turn("run_program", arguments, text, refused=error.reason)
            limit_s = min(self._reward.scorer.limits_for(episode.task).wall_s, episode.seconds_left)
            outcome = await self._run(program, episode, limit_s)
            return episode.add_turn("run_program", arguments, self._observe(outcome, episode, limit_s), outcome)

    async def submit(self) -> str:
        """
        Ends the task with the last valid submission. Nothing can be run afterwards.

        Returns:
            Whether there was a valid submission.
        """
        episode = self._current()
        async with episode.lock:
            if episode.end is not None:
                text = self._observer.refused(episode.end, episode)
                return episode.add_turn("submit", {}, text, refused=episode.end)
            if episode.valid is None:
                return episode.add_turn("submit", {}, NOT_SUBMITTED, refused="no_submission")
            episode.take_submission()
            return episode.add_turn("submit", {}, SUBMITTED.format(run=episode.valid_run))

    def get_reward(self) -> float | None:
        """Reward of the rollout if it ended here; `None` after an infrastructure fault."""
        return self._current().outcome.reward

    def _scores_with(self, reward: MLEReward) -> bool:
        """Whether the programs of this environment are scored by `reward`."""
        return self._reward is reward

    def _current(self) -> RunningEpisode:
        if self._episode is None:
            raise ConfigError("The environment has no task: call `reset(task=...)` first.")
        return self._episode

    async def _run(self, program: Program, episode: RunningEpisode, limit_s: float) -> Outcome:
        """Run and grade a program, and enter its outcome. Whatever goes wrong that is not the program's fault is a fault."""
        scorer = self._reward.scorer
        limits = scorer.limits_for(episode.task)
        limits = replace(limits, wall_s=limit_s, keep_bytes=min(self._budget.keep_bytes, limits.work_bytes // 2))
        unavailable = None
        try:
            await self._reward.open()
            outcome = await scorer.score(program, episode.task, episode.group, limits=limits, files=episode.files)
        except SandboxUnavailableError as error:
            # Raised here, it would become the text that a policy reads. The reward function raises it.
            unavailable = error
            outcome = _fault(episode, program, error)
        except asyncio.CancelledError as error:
            episode.take_outcome(_fault(episode, program, error))
            raise
        except Exception as error:
            logger.exception("A program for %s could not be run", episode.task.id)
            outcome = _fault(episode, program, error)
        episode.take_outcome(outcome, unavailable)
        return outcome

    def _observe(self, outcome: Outcome, episode: RunningEpisode, limit_s: float) -> str:
        """The observation of a run; the shortest one if it cannot be written, which must not cost the policy its run."""
        try:
            return self._observer.run(outcome, episode, limit_s)
        except Exception:
            logger.exception("The observation of a program for %s could not be written", episode.task.id)
            return FAULT if outcome.kind == "fault" else f"The program ran. It is {outcome.kind}."


async def _read(code: Any) -> Program:
    """The program of an argument. A long text is read in a thread, so that other rollouts go on meanwhile."""
    try:
        if isinstance(code, str) and len(code) > SHORT:
            return await asyncio.to_thread(program_of_argument, code)
        return program_of_argument(code)
    except ExtractionError:
        raise
    except Exception as error:  # whatever a text does to this code, it is the text of a policy
        logger.exception("The argument of a tool could not be read")
        raise ExtractionError("too_complex", f"{type(error).__name__}: {error}") from error


def _fault(episode: RunningEpisode, program: Program, error: BaseException) -> Outcome:
    message = f"{type(error).__name__}: {error}"
    return Outcome(task_id=episode.task.id, kind="fault", reward=None, duration_s=None, program=program, fault=message)
