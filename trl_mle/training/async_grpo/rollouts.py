"""How durations travel with asynchronous rollouts: from reward functions in a child process to the batches of the trainer.

A sample's seconds are in `RolloutSample.metrics["action_duration"]` (NaN for a program that never ran). A worker of one's
own writes them there; the one of TRL does so with [`DurationRolloutLoop`].
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import torch
from trl.experimental.async_grpo.async_rollout_worker import RolloutGroup, RolloutSample, _AsyncRolloutLoop

from trl_mle.errors import DurationError

logger = logging.getLogger(__name__)

SAMPLE_COLUMNS = ("action_duration", "action_cpu_duration", "action_censored")
"""Columns of `log_extra` that travel in `sample.metrics`; others stay in the child process."""
VERSION = "sample/model_version"
"""Key of `sample.metrics`: version of the policy that wrote the sample."""
NOT_REPORTED = -math.inf
STOP_S = 2.0
"""How long groups may go on being scored when the trainer has stopped, in seconds."""
GROUPS_AT_ONCE = 16
"""Groups that are scored at the same time; the sandbox bounds how many programs run."""


class DurationRolloutLoop(_AsyncRolloutLoop):
    """TRL's rollout loop with three changes. Reward functions may call `log_extra` and `log_metric`, as with `GRPOTrainer`, and
    durations go into the samples. Several groups are scored at the same time: one after another, as in TRL, each would wait for
    the slowest program of the one before it. At the end, programs that still run are stopped, and reward functions that have a
    method `aclose` are closed, so that nothing is left where they ran."""

    async def _run_loops(self, stop_event: asyncio.Event) -> None:
        loops = asyncio.ensure_future(super()._run_loops(stop_event))
        stopping = asyncio.ensure_future(stop_event.wait())
        try:
            await asyncio.wait({loops, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({loops}, timeout=STOP_S)  # the trainer waits for a quarter of a minute
            if not loops.done():
                loops.cancel()
                await asyncio.wait({loops})
            if not loops.cancelled():
                loops.result()
        finally:
            loops.cancel()
            stopping.cancel()
            for func in self.reward_funcs:
                if hasattr(func, "aclose"):
                    try:
                        await func.aclose()
                    except Exception:
                        logger.exception("A reward function could not be closed")

    async def _score_loop(self, stop_event: asyncio.Event) -> None:
        await asyncio.gather(
            *(super(DurationRolloutLoop, self)._score_loop(stop_event) for _ in range(GROUPS_AT_ONCE))
        )

    async def _score_group(self, group: RolloutGroup) -> list[RolloutSample]:
        columns: dict[str, list] = defaultdict(list)

        def log_extra(column: str, values: list) -> None:
            columns[column].extend(values)

        def log_metric(name: str, value: float) -> None:
            self._push_metrics({name: float(value)})

        hooks: dict[str, Any] = {"log_extra": log_extra, "log_metric": log_metric}
        group.reward_kwargs = {**group.reward_kwargs, **hooks}
        samples = await super()._score_group(group)
        rows = len(group.completions)
        # A conversation may give several samples, in order; each carries the seconds of the whole conversation.
        owners = [row for row, sequences in enumerate(group.completions_sequences) for _ in sequences]
        for column in SAMPLE_COLUMNS:
            values = columns.get(column)
            if values is None:
                continue
            if len(values) != rows:
                raise DurationError(
                    f'`log_extra("{column}", ...)` got {len(values)} values for {rows} completions. Report exactly one a '
                    f"completion, from exactly one of {self.reward_func_names}."
                )
            for sample, row in zip(samples, owners, strict=True):
                sample.metrics[column] = math.nan if values[row] is None else float(values[row])
        return samples


class RecordingQueue:
    """The worker's queue; the only change is that `note` sees every sample on its way out."""

    def __init__(self, inner: Any, note: Callable[[RolloutSample], None]):
        self.inner = inner
        self.note = note

    def get(self, *args: Any, **kwargs: Any) -> RolloutSample:
        sample = self.inner.get(*args, **kwargs)
        self.note(sample)
        return sample

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class DurationCollator:
    """TRL's collator; the only change is that seconds travel with the batch.

    It adds `sample_seconds` and `sample_counts`, of shape `(processes, S)` for at most `S` samples a process: seconds (NaN:
    never ran, minus infinity: not reported), and 1 for a sample with a reward, 0 for one without, -1 for padding.

    Args:
        collator: TRL's, which runs on the main process.
        column (`str`): key of `sample.metrics` with the seconds.
    """

    def __init__(self, collator: Callable[[list], dict[str, Any]], column: str):
        self.collator = collator
        self.column = column
        self.passed: deque[list[list[dict[str, Any]]]] = deque()
        """Samples of every micro-batch that is on its way to the trainer, by process."""

    def __call__(self, examples: list) -> dict[str, Any]:
        (rows,) = examples
        batch = self.collator(examples)
        samples = [list(row.samples) for row in rows]
        longest = max(map(len, samples))
        seconds = torch.zeros(len(samples), longest, dtype=torch.float64)
        counts = torch.full((len(samples), longest), -1)
        for process, of_process in enumerate(samples):
            for index, sample in enumerate(of_process):
                metrics = sample["metrics"]
                seconds[process, index] = metrics.get(self.column, NOT_REPORTED)
                counts[process, index] = 0 if math.isnan(metrics.get("reward", 0.0)) else 1
        self.passed.append(samples)
        return {**batch, "sample_seconds": seconds, "sample_counts": counts}
