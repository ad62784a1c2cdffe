"""`ExperiencePrompts`: self-improvement prompts (arXiv 2509.01684) for a share of the groups of every batch."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Any, Protocol

from trl_mle.comparison import score_of
from trl_mle.config import ExperienceConfig
from trl_mle.curriculum.guarded_store import GuardedStore
from trl_mle.curriculum.lineage import Child, children, known, lineage_metrics
from trl_mle.curriculum.predicted_parents import PredictedParents
from trl_mle.curriculum.retrieved_examples import RetrievedExamples
from trl_mle.curriculum.shares import ExactShares
from trl_mle.errors import ConfigError, ParentNotShownError
from trl_mle.experience import Experience, ExperienceStore
from trl_mle.experience.fingerprint import fingerprint
from trl_mle.outcomes import Column, RunColumn, metric_column
from trl_mle.prompts import PromptBudget, build_prompt
from trl_mle.types import PROGRAM_METRICS, TaskSpec

logger = logging.getLogger(__name__)

TRIES = 3
"""Parents that are tried for a group before its prompt is from scratch: a program may be longer than the token budget."""
WARN_AFTER = 8
"""Groups in a row without an earlier solution that is short enough, after which the user is told."""
GENERATED_AT = "generated_at_step"
"""Column of `overlap_execution`: the step of the policy that wrote the rollout, which is trained on later."""
STORED = (*map(str, Column), *map(metric_column, PROGRAM_METRICS), RunColumn.PROMPT_KIND, RunColumn.PARENT)
"""Columns of rollouts that the store keeps."""
FALLBACKS = ("no_parent", "too_long", "store")
"""Reasons why a prompt is from scratch although its turn was another one."""


class TaskChooser(Protocol):
    """Chooses the task of each group, before its prompt is chosen."""

    def choose(self, names: Sequence[str], generation: int) -> Sequence[str]:
        """Names of tasks for the groups of a generation batch; `names` are those of the data set's rows."""
        ...

    def observe(self, columns: Mapping[str, list]) -> Mapping[str, float]:
        """Take in a scored batch; returns metrics."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class ExperiencePrompts:
    """Chooses what each group is asked, and keeps what comes of it: the `group_prompts` of a [`DurationAwareTrainer`].

    Of each task's groups, exact shares get a prompt that shows an earlier solution ([`ExactShares`]). All completions of a
    group see the same one, so the group's baseline compares like with like. Without an earlier solution that can be shown, the
    prompt is from scratch.

    Which solution is shown follows from `seed`, the number of the generation batch, the group's place in it and what the store
    holds: a resumed run chooses as the uninterrupted one. The private score has no part in it.

    A dataset row needs a column `task`. The rows that are chosen have more: `prompt_kind`, `parent_id`, `parent_score` (on the
    scale of the reward) and `lineage_depth`, which [`MLEReward`] puts into the rollouts.

    Args:
        tasks (mapping from `str` to [`TaskSpec`]):
            Tasks by the name that dataset rows have in their column `task`.
        store ([`ExperienceStore`] or `None`):
            The run's store. `None` on all processes except the main one, which never ask, and if no prompt is to show an
            earlier solution.
        config ([`ExperienceConfig`]):
            Shares, strategy and token budget.
        budget ([`PromptBudget`], *optional*):
            Most tokens of a prompt. Defaults to no limit.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the choice of parents.
        task_chooser ([`TaskChooser`], *optional*):
            Chooses the task of each group. Defaults to the tasks of the data set's rows.
        examples ([`RetrievedExamples`], *optional*):
            Adds solutions of similar tasks to every prompt that has room for them.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskSpec],
        store: ExperienceStore | None,
        config: ExperienceConfig,
        budget: PromptBudget | None = None,
        seed: int = 0,
        task_chooser: TaskChooser | None = None,
        examples: RetrievedExamples | None = None,
    ):
        self._tasks = dict(tasks)
        self._store = None if store is None else GuardedStore(store)
        self._config = config
        self._budget = budget
        self._seed = seed
        self._task_chooser = task_chooser
        self._examples = examples
        is_predicted = store is not None and config.parent_strategy == "predicted"
        self._predicted = PredictedParents(store) if store is not None and is_predicted else None
        self._kinds = ExactShares(config.shares)
        self._scratch: dict[str, list[dict[str, str]]] = {}
        self._asked: Counter[str] = Counter()  # groups since the last batch that was observed, by reason
        self._too_long = 0

    def choose(self, rows: list[dict[str, Any]], generation: int) -> list[dict[str, Any]]:
        """See [`GroupPrompts.choose`].

        Raises:
            ConfigError: the rows have no column `task`, or name a task that is not among `tasks`; or there is no store.
            TaskError: a public file of a task cannot be read.
        """
        names = [self._task_name(row) for row in rows]
        if self._task_chooser is not None:
            names = list(self._task_chooser.choose(names, generation))
        chosen = []
        for group, (row, name) in enumerate(zip(rows, names, strict=True)):
            # A text as seed: neighbouring numbers must not give similar generators, nor hashing differ between processes.
            source = random.Random(f"{self._seed}/{generation}/{group}")
            row = self._choose(row if row["task"] == name else self._row_of(name, row), name, source)
            chosen.append(self._with_examples(row, name))
        return chosen

    def _with_examples(self, row: dict[str, Any], name: str) -> dict[str, Any]:
        """`row` with solutions of similar tasks in its prompt, if there are any."""
        if self._examples is None or self._store is None:
            return row
        prompt = self._examples.added_to(row["prompt"], self._tasks[name], self._store)
        self._asked["examples"] += prompt is not row["prompt"]
        return {**row, "prompt": prompt}

    def _task_name(self, row: Mapping[str, Any]) -> str:
        name = row.get("task")
        if name not in self._tasks:
            raise ConfigError(
                f"A row of the data set has the task {name!r}, but the tasks of self-improvement prompts are "
                f"{sorted(self._tasks)}. Give `prompts_dataset` and `ExperiencePrompts` the same tasks."
            )
        return str(name)

    def _row_of(self, name: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """`row` with another task and its prompt."""
        if name not in self._scratch:
            self._scratch[name] = build_prompt(self._tasks[name])
        return {**row, "task": name, "prompt": self._scratch[name]}

    def _choose(self, row: dict[str, Any], name: str, source: random.Random) -> dict[str, Any]:
        """`row` with the prompt that it is the turn of, or from scratch."""
        self._asked["groups"] += 1
        kind = self._kinds.next(name)
        if kind != "scratch":
            found = self._with_parent(row, self._tasks[name], kind, source)
            if not isinstance(found, str):
                self._too_long = 0
                return found
            self._asked[found] += 1
            self._warn_of_length(found)
        return {**row, **_prompt_columns("scratch", None)}

    def _warn_of_length(self, reason: str) -> None:
        """Tell the user, once per stretch, that the setting has no effect: the metric alone is easily missed."""
        if reason == "too_long":
            self._too_long += 1
            if self._too_long == WARN_AFTER and self._budget is not None:
                logger.warning(
                    "%d prompts in a row were from scratch because no earlier program fits into `max_prompt_tokens`=%d. Raise it.",
                    WARN_AFTER,
                    self._budget.tokens,
                )

    def _with_parent(
        self, row: Mapping[str, Any], task: TaskSpec, kind: str, source: random.Random
    ) -> dict[str, Any] | str:
        """`row` with a prompt that shows a parent, or the reason why there is none, one of `FALLBACKS`."""
        if self._store is None:
            raise ConfigError(
                f"`store` is None, but {kind!r} prompts show what it holds. Give `ExperiencePrompts` a store on the main process."
            )
        refused: set[int] = set()
        for _ in range(TRIES):
            faults = self._store.faults
            parent = self._store.try_to(
                "choose an earlier solution", lambda store: self._parent(store, task, kind, source), None
            )
            if parent is None:
                return "store" if self._store.faults > faults or self._store.is_given_up else "no_parent"
            if parent.id in refused:
                continue
            try:
                prompt = build_prompt(task, parent.outcome, budget=self._budget)
            except ParentNotShownError:
                refused.add(parent.id)
                continue
            return {**row, "prompt": prompt, **_prompt_columns(kind, parent)}
        return "too_long"

    def _parent(self, store: ExperienceStore, task: TaskSpec, kind: str, source: random.Random) -> Experience | None:
        if kind == "debug":
            return store.choose_failed(task, source)
        if self._predicted is not None:
            return self._predicted.choose(store, task, source)
        return store.choose_parent(task, self._config.parent_strategy, source)

    def observe(self, columns: Mapping[str, list]) -> dict[str, float]:
        """Keep the rollouts of a batch in the store; returns metrics under `improve/`."""
        metrics = {} if self._task_chooser is None else dict(self._task_chooser.observe(columns))
        if self._store is None:
            return metrics
        batch, rows = children(columns), _stored_rows(columns)
        metrics |= {**lineage_metrics(batch), **self._copies(batch, self._store), **self._take_fallbacks()}
        self._store.try_to("keep a batch", lambda store: len(store.add_rows(rows)), 0)
        if self._predicted is not None:
            self._predicted.observe(columns)
        metrics["improve/store_size"] = float(self._store.try_to("count", len, 0))
        metrics["improve/store_faults"] = float(self._store.faults)
        return metrics

    def _copies(self, batch: Sequence[Child], store: GuardedStore) -> dict[str, float]:
        """Share of children whose program is their parent's: a policy that copies gets the parent's score and learns nothing."""
        improving = [child for child in batch if child.parent_score is not None and child.parent_id is not None]
        if not improving:
            return {}
        parents: dict[int, bytes | None] = {}
        for parent_id in sorted({child.parent_id for child in improving if child.parent_id is not None}):
            parent = store.try_to("read a parent", methodcaller("get", parent_id), None)
            program = None if parent is None else parent.outcome.program
            parents[parent_id] = None if program is None else fingerprint(program.code)
        copies = sum(
            child.program is not None and fingerprint(child.program) == parents[child.parent_id]
            for child in improving
            if child.parent_id is not None
        )
        return {"improve/copy_share": copies / len(improving)}

    def _take_fallbacks(self) -> dict[str, float]:
        """Shares of the groups since the last batch whose prompt is from scratch for want of a parent, by reason."""
        asked, self._asked = self._asked, Counter()
        if not asked["groups"]:
            return {}
        shares = {f"improve/fallback/{reason}": asked[reason] / asked["groups"] for reason in FALLBACKS}
        if self._examples is not None:
            shares["improve/retrieved_share"] = asked["examples"] / asked["groups"]
        return shares

    def state_dict(self) -> dict[str, Any]:
        """Where the store and the shares stand."""
        # With overlap, groups are asked some batches before what comes of them is observed.
        state: dict[str, Any] = {"kinds": self._kinds.state_dict(), "asked": dict(self._asked)}
        if self._store is not None:
            # On the disk before the checkpoint is: after a loss of power, no checkpoint knows more than the store.
            state["position"] = self._store.try_to("say where it stands", lambda store: store.sync(), None)
        if self._task_chooser is not None:
            state["tasks"] = self._task_chooser.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint: what the store was given after it no longer counts.

        Raises:
            StoreError: the store is not the one of the checkpoint. Here nothing is lost yet, so the run stops.
        """
        self._kinds.load_state_dict(state["kinds"])
        self._asked = Counter(state.get("asked", {}))
        # A run whose store had failed at the checkpoint goes on with whatever is there.
        if self._store is not None and state.get("position") is not None:
            self._store.store.rewind(state["position"])
            if self._predicted is not None:
                self._predicted.restart(self._store.store)
        if self._task_chooser is not None and "tasks" in state:
            self._task_chooser.load_state_dict(state["tasks"])

    def close(self) -> None:
        """Close the store. An error is logged, not raised: the model is not saved yet."""
        if self._store is not None:
            self._store.try_to("be closed", lambda store: store.close(), None)


def _prompt_columns(kind: str, parent: Experience | None) -> dict[str, Any]:
    """What a row says of its prompt, the same keys for every kind."""
    return {
        str(RunColumn.PROMPT_KIND): kind,
        str(RunColumn.PARENT): None if parent is None else parent.id,
        # Not the reward, which has passed through the trainer's tensors: a copy must have its parent's score exactly.
        str(RunColumn.PARENT_SCORE): None if parent is None else score_of(parent.outcome),
        str(RunColumn.DEPTH): 0 if parent is None else parent.depth + 1,
    }


def _stored_rows(columns: Mapping[str, list]) -> list[dict[str, Any]]:
    """The rollouts of a batch as the store takes them. A completion that was lost to overlap has no outcome."""
    steps = columns.get(GENERATED_AT) or columns[RunColumn.STEP]
    names = [name for name in STORED if name in columns]
    return [
        {**{str(name): known(columns[name][place]) for name in names}, str(RunColumn.STEP): steps[place]}
        for place, kind in enumerate(columns.get(Column.KIND, ()))
        if kind is not None
    ]
