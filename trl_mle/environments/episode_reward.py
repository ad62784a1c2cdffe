"""`EpisodeReward`: the TRL reward function of episodes. It runs nothing: the environments have scored the programs already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Any, Literal

from trl_mle.environments.actions import Action, action_rewards, actions_of
from trl_mle.environments.environment import MLEEnvironment
from trl_mle.environments.episode import Episode
from trl_mle.environments.records import turns_as_text
from trl_mle.errors import ConfigError
from trl_mle.outcomes import Column, RunColumn
from trl_mle.rewards import MLEReward
from trl_mle.rewards.records import OCCASIONAL_METRICS
from trl_mle.rewards.reward_parts import RewardPart, SharedRuns
from trl_mle.types import Outcome

NO_ENVIRONMENTS = (
    "The reward of an `MLESpec` got no environments. Give the trainer `environment_factory=spec.environment_factory`. TRL's "
    "asynchronous trainer gives reward functions no environments, so an `MLESpec` does not work with it."
)


class EpisodeReward:
    """Asynchronous TRL reward function of [`MLEEnvironment`]: the reward of each episode, and everything known about its turns.

    It reports, by `log_extra`, the columns of the outcome that counts (`trl_mle.outcomes`), and

    - `per_action_durations`: for each message of the policy, the seconds of the programs that it ran; `None` for none;
    - `per_action_rewards`: what each message added to the reward that the episode would get if it ended there;
    - `action_duration`, `action_cpu_duration`: seconds of all programs of the episode;
    - `action_censored`: whether any of them was stopped at a time limit;
    - `turns`, `programs_run`, `submitted`.

    Args:
        reward ([`MLEReward`]):
            The one that the environments score programs with.
        duration_clock (`str`, *optional*, defaults to `"wall"`):
            Seconds of `per_action_durations`: `"wall"` or `"cpu"`, as the trainer's setting of this name.
    """

    has_time_limit = True  # as MLEReward
    tools_have_limits = True
    """The trainer refuses a `tool_timeout_s`, which would turn slow programs into faults."""
    occasional_metrics = OCCASIONAL_METRICS

    def __init__(self, reward: MLEReward, duration_clock: Literal["wall", "cpu"] = "wall"):
        self.__name__ = reward.__name__  # TRL names metrics and columns after it
        self.reward = reward
        self.duration_clock = duration_clock

    async def __call__(self, prompts: list, completions: list, **kwargs: Any) -> list[float | None]:
        """Rewards of a batch of `B` completions; the other arguments are those of [`outcomes`].

        Returns:
            `list` of `B` rewards; `None` where an infrastructure fault ended the episode.

        Raises:
            ConfigError: the trainer has other environments than those of the spec.
            SandboxError: the sandbox cannot work on this machine, or nothing could be scored for several batches in a row.
        """
        return [outcome.reward for outcome in await self.outcomes(prompts, completions, **kwargs)]

    def parts(self, score: Literal["score", "gain"] = "score") -> list[RewardPart]:
        """The reward as two reward functions, as [`MLEReward.parts`] has it."""
        outcomes = SharedRuns(partial(self.outcomes, whole=False))
        parts = [RewardPart("validity", outcomes, self.model_card_sections), RewardPart(score, outcomes)]
        for part in parts:
            part.duration_clock, part.tools_have_limits = self.duration_clock, self.tools_have_limits
        return parts

    async def outcomes(
        self,
        prompts: list,
        completions: list,
        environments: list | None = None,
        log_extra: Callable[[str, list], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        *,
        whole: bool = True,
        **kwargs: Any,
    ) -> list[Outcome]:
        """The outcomes of a batch of `B` episodes, with everything logged that `__call__` logs.

        Args:
            environments (`list` of `B` [`MLEEnvironment`]):
                Given by TRL.
            whole (`bool`, *optional*, defaults to `True`):
                Whether TRL logs the reward itself.
        """
        if environments is None or len(environments) != len(completions):
            raise ConfigError(NO_ENVIRONMENTS)
        episodes = [self._episode_of(environment) for environment in environments]
        for episode in episodes:
            if episode.unavailable is not None:
                raise episode.unavailable
        actions = [actions_of(*pair) for pair in zip(completions, episodes, strict=True)]
        outcomes = [episode.outcome for episode in episodes]
        self.reward.record(
            outcomes,
            log_extra,
            log_metric,
            columns=self._columns(episodes, actions) if log_extra else None,
            whole=whole,
        )
        if log_metric is not None:
            _log_metrics(episodes, log_metric)
        return outcomes

    def _columns(self, episodes: Sequence[Episode], actions: Sequence[list[Action]]) -> dict[str, list]:
        seconds = "seconds" if self.duration_clock == "wall" else "cpu_seconds"
        columns: dict[str, list] = {
            Column.DURATION: [episode.seconds for episode in episodes],
            Column.CPU_DURATION: [episode.cpu_seconds for episode in episodes],
            Column.CENSORED: [any(turn.is_censored for turn in episode.turns) for episode in episodes],
            RunColumn.PER_ACTION_DURATIONS: [[getattr(action, seconds) for action in row] for row in actions],
            RunColumn.PER_ACTION_REWARDS: [action_rewards(*pair) for pair in zip(actions, episodes, strict=True)],
            RunColumn.TURNS: [turns_as_text(row) for row in actions],
            RunColumn.PROGRAMS_RUN: [len(episode.programs) for episode in episodes],
            RunColumn.SUBMITTED: [episode.submitted for episode in episodes],
        }
        return {str(name): values for name, values in columns.items()}

    def _episode_of(self, environment: Any) -> Episode:
        if not isinstance(environment, MLEEnvironment) or not environment._scores_with(self.reward):
            raise ConfigError(
                f"The reward of an `MLESpec` got the environment {environment!r}, which is not its own. Give the trainer "
                "`environment_factory=spec.environment_factory` of the same spec, alone: environments of other kinds cannot be "
                "mixed with it."
            )
        return environment.episode

    def model_card_sections(self) -> dict[str, str]:
        """Title -> Markdown: the tasks and the reward settings, for the model card."""
        return self.reward.model_card_sections()

    def close(self) -> None:
        """Close the sandbox and the instrumenter, see [`MLEReward.close`]."""
        self.reward.close()


def _log_metrics(episodes: Sequence[Episode], log_metric: Callable[[str, float], None]) -> None:
    """Log means of the episodes under `episodes/`."""
    if not episodes:
        return
    refused = [turn.refused is not None for episode in episodes for turn in episode.turns]
    log_metric("episodes/programs", fmean(len(episode.programs) for episode in episodes))
    log_metric("episodes/seconds", fmean(episode.seconds or 0.0 for episode in episodes))
    log_metric("episodes/submitted_share", fmean(episode.submitted for episode in episodes))
    log_metric("episodes/no_tool_call_share", fmean(not episode.turns for episode in episodes))
    log_metric("episodes/refused_calls", sum(refused) / len(episodes))
