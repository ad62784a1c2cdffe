"""`MLEReward`: the TRL adapter of [`ProgramScorer`]. It adds the batch, the logs and the life within a trainer."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, Literal

from trl_mle.config import RewardConfig
from trl_mle.errors import ConfigError, SandboxError, TaskError
from trl_mle.rewards.idle_watch import IdleWatch
from trl_mle.rewards.records import OCCASIONAL_METRICS, log_metrics, prompt_columns, rollout_columns
from trl_mle.rewards.reward_parts import RewardPart, SharedRuns
from trl_mle.rewards.scorer import ProgramScorer
from trl_mle.rewards.task_metrics import log_task_metrics
from trl_mle.sandboxes import SandboxPool
from trl_mle.sandboxes.base import Sandbox
from trl_mle.tasks import Task, load_task
from trl_mle.types import Outcome

logger = logging.getLogger(__name__)

FAULTY_BATCHES = 3
"""Batches in a row without a single scorable completion after which training stops: the infrastructure is down."""
FAULTY_SINGLES = 16
"""As `FAULTY_BATCHES`, if a batch is one completion, as with `overlap_execution`."""


def _of_scorer(name: str, doc: str) -> Any:
    """Property whose value is the attribute `name` of the scorer, for reading and writing."""
    return property(
        lambda reward: getattr(reward.scorer, name),
        lambda reward, value: setattr(reward.scorer, name, value),
        doc=doc,
    )


class MLEReward:
    """Asynchronous TRL reward function that runs what the policy wrote and scores it with a [`ProgramScorer`].

    Completions of a batch are scored concurrently, and one that is hostile, slow or broken costs its own row only. An
    infrastructure fault is `None`, which TRL leaves out of the baseline.

    The dataset needs a column `task` with task names (`builtin:digits`, a folder ...). Durations are reported as
    `log_extra("action_duration", seconds)`, together with every part of the outcome (`trl_mle.outcomes`).

    Args:
        sandbox ([`Sandbox`], *optional*):
            Where programs run. Defaults to `LocalSandbox()`. It is opened on first use and closed by `close()`. A sandbox
            that is no [`SandboxPool`] gets a pool around it, with the retries of `reward`. Completions of a prompt are a
            group.
        instrumenter ([`Instrumenter`], *optional*):
            What inserts the milestone prints. Defaults to `ASTInstrumenter()`. An object with only a method `instrument`,
            synchronous or asynchronous, is accepted.
        reward ([`RewardConfig`], *optional*):
            How an outcome becomes a scalar. Defaults to the paper's numbers.
        tasks (mapping from `str` to [`Task`], *optional*):
            Tasks by name. Names that are not in it are loaded with `load_task`.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the sandbox's setting, and that to the task's.
        memory_bytes (`int`, *optional*):
            Limit of resident memory of a program in bytes. Defaults to the sandbox's setting, and that to the task's.
        close_s (`float`, *optional*, defaults to `120.0`):
            Seconds that `close` waits for the sandbox.
    """

    has_time_limit = True
    """Its programs end by themselves, so `overlap_execution` never gives one up, however often the run is resumed."""
    occasional_metrics = OCCASIONAL_METRICS
    """Metrics that it logs at times only. An evaluation without one is no error of `metric_for_best_model`."""

    def __init__(
        self,
        sandbox: Sandbox | None = None,
        instrumenter: Any = None,
        reward: RewardConfig | None = None,
        tasks: Mapping[str, Task] | None = None,
        wall_s: float | None = None,
        memory_bytes: int | None = None,
        *,
        close_s: float = 120.0,
    ):
        if not isinstance(tasks, Mapping | None):
            raise ConfigError(
                f"`tasks` is a {type(tasks).__name__}; it maps ids to tasks. Write `tasks={{task.id: task for task in tasks}}`."
            )
        self.__name__ = "mle_reward"  # TRL names metrics and columns after it
        self.scorer = ProgramScorer(sandbox, instrumenter, reward, wall_s=wall_s, memory_bytes=memory_bytes)
        """What scores one completion."""
        self._idle = IdleWatch()
        self._tasks = dict(tasks or {})
        self._close_s = close_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Task[Any] | None = None
        self._faulty_batches = 0

    sandbox: SandboxPool = _of_scorer("sandbox", "The pool in front of the sandbox that programs run in.")
    instrumenter: Any = _of_scorer("instrumenter", "What inserts the milestone prints, as it was given.")
    config: RewardConfig = _of_scorer("config", "How an outcome becomes a scalar.")
    wall_s: float | None = _of_scorer(
        "wall_s", "Wall-clock limit of a program in seconds; `None` if the sandbox or the task decides."
    )
    memory_bytes: int | None = _of_scorer(
        "memory_bytes", "Limit of resident memory of a program in bytes; `None` if the sandbox or the task decides."
    )

    async def __call__(self, prompts: list, completions: list, **kwargs: Any) -> list[float | None]:
        """Score a batch of `B` completions; the other arguments are those of [`outcomes`].

        Returns:
            `list` of `B` rewards; `None` where an infrastructure fault left the completion unscorable.

        Raises:
            TaskError: the dataset has no column `task`, or it names a task that does not exist.
            SandboxError: the sandbox cannot work on this machine, or nothing could be scored for several batches in a row.
        """
        return [outcome.reward for outcome in await self.outcomes(prompts, completions, **kwargs)]

    def parts(self, score: Literal["score", "gain"] = "score") -> list[RewardPart]:
        """The reward as two reward functions, `validity_reward` and `score_reward`, that add up to it. Programs run once.

        With `multi_objective_aggregation="normalize_then_sum"` (GDPO, arXiv 2601.05242) each is normalised within its group, so
        that one failure no longer drowns the differences between the scores of valid submissions:

        ```python
        reward = MLEReward()
        args = DurationAwareConfig("out", multi_objective_aggregation="normalize_then_sum")
        trainer = DurationAwareTrainer(model=model, reward_funcs=reward.parts(), args=args, train_dataset=dataset)
        ```

        With `score="gain"`, the second one is `gain_reward`: what a program adds to the earlier one that its prompt showed.
        """
        outcomes = SharedRuns(partial(self.outcomes, whole=False))
        return [RewardPart("validity", outcomes, self.model_card_sections), RewardPart(score, outcomes)]

    async def outcomes(
        self,
        prompts: list,
        completions: list,
        task: list[str] | None = None,
        log_extra: Callable[[str, list], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        *,
        whole: bool = True,
        **kwargs: Any,
    ) -> list[Outcome]:
        """The outcomes of a batch of `B` completions, with everything logged that `__call__` logs.

        Args:
            whole (`bool`, *optional*, defaults to `True`):
                Whether TRL logs the reward itself, as that of this reward function. If not, it is logged as a column.
        """
        if task is None:
            raise TaskError("The dataset has no column `task`. Add one with task names such as 'builtin:digits'.")
        tasks = [self.task(name) for name in task]
        await self.open()
        outcomes = await asyncio.gather(
            *(
                self.score(completion, of_task, group=hash((of_task.id, str(prompt))))
                for prompt, completion, of_task in zip(prompts, completions, tasks, strict=True)
            )
        )
        self.record(outcomes, log_extra, log_metric, columns=prompt_columns(kwargs), whole=whole)
        return outcomes

    def record(
        self,
        outcomes: list[Outcome],
        log_extra: Callable[[str, list], None] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        *,
        columns: Mapping[str, list] | None = None,
        whole: bool = True,
    ) -> None:
        """Log the outcomes of a batch, and stop training if the infrastructure is down.

        Args:
            columns (mapping, *optional*):
                Further columns, each with one value per outcome. One with the name of a column of outcomes replaces it.
            whole (`bool`, *optional*, defaults to `True`):
                Whether TRL logs the reward itself.

        Raises:
            SandboxError: nothing could be scored for several batches in a row.
        """
        if log_extra is not None:
            all_columns = {**rollout_columns(outcomes, with_reward=not whole), **(columns or {})}
            for column, values in all_columns.items():
                log_extra(column, values)
        if (warning := self._idle.observe(outcomes)) is not None:
            logger.warning("%s", warning)
        if log_metric is not None:
            log_metrics(outcomes, log_metric)
            log_task_metrics(outcomes, dict.fromkeys(each.id for each in self._tasks.values()), log_metric)
            for name, value in self.scorer.take_metrics().items():
                log_metric(name, value)
        self._check_faults(outcomes)

    def task(self, name: str) -> Task:
        """The task of that name, loaded once."""
        if name not in self._tasks:
            self._tasks[name] = load_task(name)
        return self._tasks[name]

    async def score(self, completion: str | list[dict], task: Task, group: Hashable = None) -> Outcome:
        """The outcome of one completion; see [`ProgramScorer.score`]."""
        return await self.scorer.score(completion, task, group)

    def _check_faults(self, outcomes: list[Outcome]) -> None:
        faults = [outcome.fault for outcome in outcomes if outcome.fault is not None]
        # An empty batch says nothing about the infrastructure, and ends the row of faulty ones.
        self._faulty_batches = self._faulty_batches + 1 if outcomes and len(faults) == len(outcomes) else 0
        if self._faulty_batches >= (FAULTY_BATCHES if len(outcomes) > 1 else FAULTY_SINGLES):
            (message, _), *_ = Counter(faults).most_common(1)
            raise SandboxError(
                f"No completion of the last {self._faulty_batches} batches could be scored. Last: {message}"
            )

    async def open(self) -> None:
        """Open the sandbox once, in the event loop that the trainer runs reward functions in.

        With `overlap_execution` each completion is a call, and calls come while the sandbox opens. All of them wait for one
        opening, which goes on if the call that began it is cancelled.
        """
        if self._opening is None:
            self._loop = asyncio.get_running_loop()
            self._opening = self._loop.create_task(self.sandbox.__aenter__())
        await asyncio.shield(self._opening)

    _open = open  # its name before it was public, which scripts of users call

    def close(self) -> None:
        """Close the sandbox and the instrumenter. Safe to call twice, and from any thread except the event loop's.

        An error is logged, not raised: a sandbox that cannot be closed must not cost the model that was trained.
        """
        loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(self._shut(), loop).result(timeout=self._close_s)
            elif not loop.is_closed():
                loop.run_until_complete(asyncio.wait_for(self._shut(), self._close_s))
        except TimeoutError:
            logger.error("The sandbox was not closed within %g s; what it runs may be left", self._close_s)
        except Exception:
            logger.exception("The sandbox could not be closed; what it runs may be left")

    async def aclose(self) -> None:
        """Close from the event loop's own thread. Errors are raised."""
        self._loop = None
        await self._shut()

    async def _shut(self) -> None:
        opening, self._opening = self._opening, None
        try:
            if opening is not None and await _has_succeeded(opening):
                await self.sandbox.__aexit__(None, None, None)
        finally:
            await self.scorer.close_instrumenter()

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


async def _has_succeeded(task: asyncio.Task[Any]) -> bool:
    await asyncio.wait([task])
    return not task.cancelled() and task.exception() is None
