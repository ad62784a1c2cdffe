"""Demonstrations from earlier programs: those of a run, of an experience store, or of its export."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.errors import ConfigError, ParentNotShownError
from trl_mle.experience import STORE_FILE, ExperienceStore
from trl_mle.experience.chain_credit import check_discount
from trl_mle.experience.database import is_sqlite
from trl_mle.experience.demonstrations import Attempt, Demonstration, Messages, demonstrations_of
from trl_mle.experience.hindsight import hindsight_demonstration
from trl_mle.experience.importing import check_no_agents
from trl_mle.experience.returns import check_temperature, effective_sample_size, resample, return_weights
from trl_mle.outcomes import Column, RunColumn, from_row, read_rollouts
from trl_mle.prompts import build_prompt
from trl_mle.scripts.build import with_time_limit
from trl_mle.tasks import load_task
from trl_mle.types import Outcome, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

WEIGHTINGS = ("none", "return")


@dataclass
class ExperienceArguments:
    """Parameters of demonstrations that are earlier programs. Help texts are in the fields."""

    demonstration_weighting: str = field(
        default="none",
        metadata={
            "help": "Weights of earlier programs: 'none' learns from each valid one alike, 'return' from the better ones more "
            "often (reward-weighted regression)."
        },
    )
    demonstration_temperature: float = field(
        default=1.0,
        metadata={
            "help": "Temperature of 'return', in standard deviations of a task's rewards. Small: the best alone."
        },
    )
    chain_discount: float = field(
        default=0.0,
        metadata={
            "help": "Part of what its descendants gained that a program of a store is credited with, from 0 to 1."
        },
    )
    hindsight_share: float = field(
        default=0.0,
        metadata={
            "help": "Largest share of the demonstrations that are failed programs, shown for the part that they reached."
        },
    )

    def __post_init__(self):
        if self.demonstration_weighting not in WEIGHTINGS:
            raise ConfigError(
                f"`demonstration_weighting` is {self.demonstration_weighting!r}; choose 'none' or 'return'."
            )
        check_temperature(self.demonstration_temperature)
        check_discount(self.chain_discount)
        if not 0 <= self.hindsight_share < 1:
            raise ConfigError(f"`hindsight_share` is {self.hindsight_share}; it must be at least 0 and less than 1.")

    def check_source(self, source: str) -> None:
        """Raise `ConfigError` if a setting needs earlier programs and `source` has none."""
        for name, off in (("demonstration_weighting", "none"), ("chain_discount", 0), ("hindsight_share", 0)):
            if (value := getattr(self, name)) != off:
                raise ConfigError(
                    f"`{name}` is {value!r}, but `demonstrations` is {source!r}, which holds no outcomes of programs. Give the "
                    "`output_dir` of a run, an experience store, or its export."
                )


def is_experience(source: str) -> bool:
    """Whether `source` is a run, a store, or the export of one."""
    path = Path(source)
    if path.is_dir():
        return (path / "rollouts").is_dir()
    return path.is_file() and (is_sqlite(path) or _is_export(path))


def load_experience(
    source: str, tasks: Sequence[str], args: ExperienceArguments, time_limit_s: float | None = None
) -> list[dict[str, Any]]:
    """Rows with `prompt` and `completion` from earlier programs.

    Args:
        source (`str`):
            The `output_dir` of a run, an experience store, or its export as Parquet.
        tasks (sequence of `str`):
            Names of the tasks whose programs are taken. Without any, all tasks are taken, and loaded by their id.
        args ([`ExperienceArguments`]):
            Weights and shares.
        time_limit_s (`float`, *optional*):
            Limit that prompts state, in seconds, where they are built. Defaults to that of the tasks.

    Raises:
        UserError: the source cannot be read, holds no valid program, or has an unknown task.
    """
    attempts = _attempts(source)
    if args.chain_discount and all(attempt.parent is None for attempt in attempts):
        raise ConfigError(
            f"`chain_discount` is {args.chain_discount}, but no program in {source!r} has its parent there. Give the experience "
            f"store of a run with self-improvement prompts (`{STORE_FILE}` in its folder), or leave `chain_discount` out."
        )
    prompts = Prompts(tasks, time_limit_s)
    if not any(prompts.wanted(attempt.outcome.task_id) for attempt in attempts):
        there = ", ".join(sorted({attempt.outcome.task_id for attempt in attempts})) or "no task"
        raise ConfigError(f"`tasks` is {list(tasks)}, but {source!r} holds programs of {there}.")
    demonstrations = demonstrations_of(attempts, prompts.of, args.chain_discount)
    demonstrations = [each for each in demonstrations if prompts.wanted(each.task_id)]
    if not demonstrations:
        raise ConfigError(
            f"`demonstrations` is {source!r}, whose {len(attempts)} outcomes hold no valid program to learn from."
        )
    rng = random.Random(0)
    chosen, weights = demonstrations, [1.0] * len(demonstrations)
    if args.demonstration_weighting == "return":
        weights = return_weights(
            [each.value for each in demonstrations],
            [each.group for each in demonstrations],
            args.demonstration_temperature,
        )
        chosen = [demonstrations[index] for index in resample(weights, len(demonstrations), rng)]
    most = int(args.hindsight_share / (1 - args.hindsight_share) * len(chosen))
    hindsight = _hindsight(attempts, prompts, most, rng)
    if os.environ.get("RANK", "0") == "0":  # every process of a launcher reads the demonstrations
        shown = f"{len(attempts)} outcomes in {source}: {len(demonstrations)} different valid programs"
        if args.demonstration_weighting == "return":
            shown += f", weighted as much as {effective_sample_size(weights):.0f} equal ones"
        if hindsight:
            shown += f", and {len(hindsight)} failed ones for the part that they reached"
        print(f"{shown}.")
    return [
        {"prompt": each.prompt, "completion": [{"role": "assistant", "content": each.completion}]}
        for each in [*chosen, *hindsight]
    ]


class Prompts:
    """Prompts of tasks, built once each.

    Args:
        tasks (sequence of `str`):
            Names of tasks that may be asked for. Without any, tasks are loaded by their id.
        time_limit_s (`float`, *optional*):
            Limit that prompts state, in seconds.
    """

    def __init__(self, tasks: Sequence[str], time_limit_s: float | None):
        self._time_limit_s = time_limit_s
        self._any = not tasks
        named = with_time_limit({name: load_task(name) for name in tasks}, time_limit_s)
        self._tasks: dict[str, TaskSpec] = {task.id: task for task in named.values()}
        self._scratch: dict[str, Messages] = {}

    def wanted(self, task_id: str) -> bool:
        """Whether programs of the task are taken."""
        return self._any or task_id in self._tasks

    def of(self, outcome: Outcome, parent: Outcome | None) -> Messages | None:
        """Prompt from scratch, or one that shows `parent`; `None` for a task not wanted, or a parent that cannot be shown."""
        if not self.wanted(outcome.task_id):
            return None
        if parent is None:
            return self.scratch(outcome.task_id)
        try:
            return build_prompt(self._task(outcome.task_id), parent)
        except ParentNotShownError:  # an infrastructure fault, in a store that others have filled
            return None

    def scratch(self, task_id: str) -> Messages:
        """Prompt from scratch of a task."""
        if task_id not in self._scratch:
            self._scratch[task_id] = build_prompt(self._task(task_id))
        return self._scratch[task_id]

    def _task(self, task_id: str) -> TaskSpec:
        if task_id not in self._tasks:
            try:
                loaded = {task_id: load_task(task_id)}
            except ConfigError:
                raise
            except ValueError as error:
                raise ConfigError(
                    f"The demonstrations hold programs of the task {task_id!r}, which cannot be loaded by that name: {error} "
                    "Give its folder in `tasks`."
                ) from error
            self._tasks |= with_time_limit(loaded, self._time_limit_s)
        return self._tasks[task_id]


def _hindsight(attempts: Sequence[Attempt], prompts: Prompts, most: int, rng: random.Random) -> list[Demonstration]:
    """At most `most` different demonstrations by failed programs."""
    failed = [attempt.outcome for attempt in attempts if attempt.outcome.kind == "failure"]
    rng.shuffle(failed)
    found: dict[tuple[str, str], Demonstration] = {}
    for outcome in failed if most else []:
        if not prompts.wanted(outcome.task_id):
            continue
        demonstration = hindsight_demonstration(outcome, prompts.scratch)
        if demonstration is not None:
            found.setdefault((demonstration.task_id, demonstration.completion), demonstration)
        if len(found) == most:
            break
    return list(found.values())


def _attempts(source: str) -> list[Attempt]:
    path = Path(source)
    if path.is_dir():
        rollouts = read_rollouts(path)
        check_no_agents(rollouts, source)
        return _of_rows(rollouts)
    if is_sqlite(path):
        return _of_store(path)
    import pandas as pd

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"`demonstrations` is {source!r}, which cannot be read: {error}") from error
    check_no_agents(frame, source)
    return _of_rows(frame)


def _of_store(path: Path) -> list[Attempt]:
    positions: dict[int, int] = {}
    attempts: list[Attempt] = []
    with closing(ExperienceStore(path, read_only=True)) as store:
        for experience in store:
            parent = None if experience.parent_id is None else positions.get(experience.parent_id)
            positions[experience.id] = len(attempts)
            attempts.append(Attempt(experience.outcome, experience.prompt_kind, parent))
    return attempts


def _of_rows(frame: pd.DataFrame) -> list[Attempt]:
    """The outcomes of rollouts or of an export. Rows without one, whose completion was lost, are left out."""
    rows = [row for row in frame.to_dict("records") if isinstance(row.get(Column.KIND), str)]
    positions = {row["id"]: index for index, row in enumerate(rows) if "id" in row}
    attempts = []
    for index, row in enumerate(rows):
        kind = row.get(RunColumn.PROMPT_KIND)
        parent = positions.get(row.get(RunColumn.PARENT))
        attempts.append(
            Attempt(
                outcome=from_row(row),
                prompt_kind=kind if isinstance(kind, str) else "scratch",
                parent=parent if parent is not None and parent < index else None,
                prompt=_messages(row.get("prompt")),
                completion=_text(row.get("completion")),
            )
        )
    return attempts


def _messages(prompt: Any) -> Messages | None:
    if prompt is None or isinstance(prompt, (str, float)):
        return None
    return [{"role": str(message["role"]), "content": str(message["content"])} for message in prompt]


def _text(completion: Any) -> str | None:
    if completion is None or isinstance(completion, float):
        return None
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _is_export(path: Path) -> bool:
    """Whether a Parquet file holds outcomes."""
    from pyarrow import ArrowException, parquet

    if path.suffix.lower() != ".parquet":
        return False
    try:
        return {Column.TASK_ID, Column.KIND, Column.PROGRAM} <= set(parquet.read_schema(path).names)
    except (OSError, ArrowException):
        return False  # whoever reads it names the fault
