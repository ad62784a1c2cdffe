"""`MLESpec`: tasks, environments and reward of an agent, as TRL's trainers take them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trl_mle.config import EpisodeBudget, RewardConfig
from trl_mle.config.base import check_choice
from trl_mle.dataset import BATCHES_PER_EPOCH, tasks_by_name
from trl_mle.environments.environment import MLEEnvironment
from trl_mle.environments.episode_reward import EpisodeReward
from trl_mle.errors import ConfigError
from trl_mle.prompts import PromptBudget, build_agent_prompt
from trl_mle.rewards import MLEReward
from trl_mle.sandboxes.base import Sandbox
from trl_mle.tasks import Task
from trl_mle.types import TaskSpec

if TYPE_CHECKING:
    from datasets import Dataset


class MLESpec:
    """Everything that a TRL trainer needs to train an agent on tasks: data set, environments and reward.

    Args:
        tasks (mapping from `str` to [`Task`], or sequence of [`Task`] and `str`):
            Tasks, as [`prompts_dataset`] takes them.
        budget ([`EpisodeBudget`], *optional*):
            What one rollout may use.
        sandbox, instrumenter, reward, wall_s, memory_bytes:
            As for [`MLEReward`]. One sandbox runs the programs of all environments.
        prompts (`int`, *optional*, defaults to `8`):
            Distinct prompts per generation batch (`generation_batch_size // num_generations`), see [`prompts_dataset`].
        prompt_budget ([`PromptBudget`], *optional*):
            Most tokens of a prompt, and the special tokens that neither prompts nor observations hold.
        show_public_score (`bool`, *optional*, defaults to `False`):
            Whether observations have the score on the public part of the answers. It decides the reward: an agent that sees it
            may climb on it by trial and error instead of validating by itself.
        duration_clock (`str`, *optional*, defaults to `"wall"`):
            As the trainer's setting of this name.

    Raises:
        ConfigError: `tasks` is empty or names a task twice, or a setting cannot work.
        TaskError: there is no task of a name.

    Example:

    ```python
    spec = MLESpec(["builtin:digits"], budget=EpisodeBudget(runs=3))
    trainer = DurationAwareTrainer(
        model="Qwen/Qwen3-4B",
        args=DurationAwareConfig("out"),
        train_dataset=spec.train_dataset,
        environment_factory=spec.environment_factory,
        reward_funcs=spec.reward_funcs,
    )
    trainer.train()
    spec.close()
    ```
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskSpec] | Iterable[TaskSpec | str | Path] | TaskSpec | str | Path,
        *,
        budget: EpisodeBudget | None = None,
        sandbox: Sandbox | None = None,
        instrumenter: Any = None,
        reward: RewardConfig | None = None,
        wall_s: float | None = None,
        memory_bytes: int | None = None,
        prompts: int = 8,
        prompt_budget: PromptBudget | None = None,
        show_public_score: bool = False,
        duration_clock: Literal["wall", "cpu"] = "wall",
    ):
        if prompts < 1:
            raise ConfigError(f"`prompts` is {prompts}; it must be 1 or more.")
        check_choice("duration_clock", duration_clock, ("wall", "cpu"))
        self.tasks = _gradable(tasks_by_name(tasks))
        """Name -> task."""
        self.budget = EpisodeBudget() if budget is None else budget
        self.mle_reward = MLEReward(sandbox, instrumenter, reward, self.tasks, wall_s, memory_bytes)
        """Scores the programs of all environments."""
        self.prompt_budget = prompt_budget
        self.show_public_score = show_public_score
        self._prompts = prompts
        self._reward = EpisodeReward(self.mle_reward, duration_clock)

    @cached_property
    def train_dataset(self) -> Dataset:
        """`datasets.Dataset` with the columns `prompt` (chat messages) and `task`, as many rows of each task."""
        from datasets import Dataset

        return Dataset.from_list(self.rows() * (self._prompts * BATCHES_PER_EPOCH))

    @cached_property
    def eval_dataset(self) -> Dataset:
        """`datasets.Dataset` with one row per task, for evaluations during training."""
        from datasets import Dataset

        return Dataset.from_list(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """One row per task: `prompt` and `task`."""
        return [{"prompt": self.prompt(task), "task": name} for name, task in self.tasks.items()]

    def prompt(self, task: Task) -> list[dict[str, str]]:
        """The prompt of a task: [`build_agent_prompt`] with the budget of this spec."""
        limits = self.mle_reward.scorer.limits_for(task)
        return build_agent_prompt(
            task,
            runs=self.budget.runs,
            seconds=self.budget.seconds_for(limits.wall_s),
            limit_s=limits.wall_s,
            memory_bytes=limits.memory_bytes,
            keeps_files=self.budget.keep_bytes > 0 and self.budget.runs > 1,
            tells_score=self.show_public_score,
            budget=self.prompt_budget,
        )

    @property
    def environment_factory(self) -> Callable[[], MLEEnvironment]:
        """Makes an environment for one rollout at a time. TRL takes its reward from `reward_funcs`, not from `get_reward`."""
        return self._make_environment

    @property
    def reward_funcs(self) -> list[Any]:
        """The reward function of the episodes, [`EpisodeReward`]."""
        return [self._reward]

    @property
    def reward(self) -> EpisodeReward:
        """The reward function; `reward.parts()` has it in two parts."""
        return self._reward

    def close(self) -> None:
        """Close the sandbox and the instrumenter, see [`MLEReward.close`]."""
        self.mle_reward.close()

    async def aclose(self) -> None:
        """Close from the event loop's own thread."""
        await self.mle_reward.aclose()

    def _make_environment(self) -> MLEEnvironment:
        return _EnvironmentForTRL(
            self.mle_reward,
            self.budget,
            show_public_score=self.show_public_score,
            special_tokens=self.prompt_budget.special_tokens if self.prompt_budget else (),
        )


def _gradable(tasks: Mapping[str, TaskSpec]) -> dict[str, Task]:
    """`tasks`, of which every one can grade."""
    if not tasks:
        raise ConfigError("`tasks` is empty; give at least one task, such as 'builtin:digits'.")
    gradable = {name: task for name, task in tasks.items() if isinstance(task, Task)}
    if missing := sorted(set(tasks) - set(gradable)):
        raise ConfigError(
            f"Of `tasks`, {missing[0]!r} is no `Task`, so it cannot grade; give what `load_task` returns."
        )
    return gradable


class _EnvironmentForTRL(MLEEnvironment):
    """An environment whose class has no method `get_reward`, which TRL would add to the rewards of `reward_funcs`."""

    get_reward: Any = None

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        # For callers of this object. TRL looks at the class.
        self.get_reward = super().get_reward
