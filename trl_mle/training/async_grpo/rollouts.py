"""How durations travel with asynchronous rollouts: from reward functions in a child process to the trainer's queue.

A sample's seconds are in `RolloutSample.metrics["action_duration"]` (NaN for a program that never ran). A worker of the user's
own writes them there; TRL's worker does so with [`DurationRolloutLoop`].
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trl_mle.errors import DurationError
from trl_mle.training.async_grpo.trl_imports import AsyncRolloutLoop, RolloutGroup, RolloutSample

logger = logging.getLogger(__name__)

SAMPLE_COLUMNS = ("action_duration", "action_cpu_duration", "action_censored")
"""Columns of `log_extra` that travel in `sample.metrics`. All others stay in the child process."""
VERSION = "sample/model_version"
"""Key of `sample.metrics`: version of the policy that wrote the sample."""
SCORING_UPDATES = "updates_while_scored"
"""Key of `sample.metrics`: versions of the policy that came while the sample's group was scored. They make no sample stale."""


@dataclass(frozen=True)
class LoopTiming:
    """Limits of [`DurationRolloutLoop`].

    TRL makes the loop, in a child process, so no argument of a trainer reaches it. Subclasses of the loop set `timing`, and
    tests set it on a loop that they made.
    """

    stop_s: float = 2.0
    """Seconds for which groups may go on being scored when the trainer has stopped. TRL waits a quarter of a minute."""
    concurrent_groups: int = 16
    """Groups that are scored at the same time. The sandbox bounds how many programs run."""


class DurationRolloutLoop(AsyncRolloutLoop):
    """TRL's rollout loop with four changes.

    - Samples carry the number of updates that were made while their programs ran, so that no program is dropped for being slow.
    - Reward functions may call `log_extra` and `log_metric`, as with `GRPOTrainer`, and durations go into the samples.
    - Several groups are scored at the same time. TRL scores one after another, so that each group would wait for the slowest
      program of the one before it.
    - At the end, programs that still run are stopped, and reward functions that have a method `aclose` are closed.
    """

    timing = LoopTiming()

    async def _run_loops(self, stop_event: asyncio.Event) -> None:
        loops = asyncio.ensure_future(super()._run_loops(stop_event))
        stopping = asyncio.ensure_future(stop_event.wait())
        try:
            await asyncio.wait({loops, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({loops}, timeout=self.timing.stop_s)
            if not loops.done():
                loops.cancel()
                await asyncio.wait({loops})
            # An error of a loop must reach TRL, which reports it to the trainer.
            if not loops.cancelled():
                loops.result()
        finally:
            loops.cancel()
            stopping.cancel()
            await self._close_reward_funcs()

    async def _close_reward_funcs(self) -> None:
        for func in self.reward_funcs:
            if hasattr(func, "aclose"):
                # A sandbox that cannot be closed must not keep the others from being closed.
                try:
                    await func.aclose()
                except Exception:
                    logger.exception("A reward function could not be closed")

    async def _score_loop(self, stop_event: asyncio.Event) -> None:
        await asyncio.gather(
            *(super(DurationRolloutLoop, self)._score_loop(stop_event) for _ in range(self.timing.concurrent_groups))
        )

    async def _score_group(self, group: RolloutGroup) -> list[RolloutSample]:
        columns: dict[str, list] = defaultdict(list)

        def log_extra(column: str, values: list) -> None:
            columns[column].extend(values)

        def log_metric(name: str, value: float) -> None:
            self._push_metrics({name: float(value)})

        hooks: dict[str, Any] = {"log_extra": log_extra, "log_metric": log_metric}
        group.reward_kwargs = {**group.reward_kwargs, **hooks}
        # A loop of another version of TRL may not know it; then all updates make a sample stale.
        began_at = getattr(self, "model_version", None)
        samples = await super()._score_group(group)
        if began_at is not None:
            updates = float(self.model_version - began_at)
            for sample in samples:
                sample.metrics[SCORING_UPDATES] = updates
        rows = len(group.completions)
        # A conversation may give several samples, in order. Each carries the seconds of the whole conversation.
        owners = [row for row, sequences in enumerate(group.completions_sequences) for _ in sequences]
        for column in SAMPLE_COLUMNS:
            values = columns.get(column)
            if values is None:
                continue
            if len(values) != rows:
                raise DurationError(
                    f'`log_extra("{column}", ...)` got {len(values)} values for {rows} completions. Report exactly one per '
                    f"completion, from exactly one of {self.reward_func_names}."
                )
            for sample, row in zip(samples, owners, strict=True):
                sample.metrics[column] = math.nan if values[row] is None else float(values[row])
        return samples


class RecordingQueue:
    """The worker's queue; the only change is that `note` sees every sample that is taken out."""

    def __init__(self, inner: Any, note: Callable[[RolloutSample], None]):
        self.inner = inner
        self.note = note

    def get(self, *args: Any, **kwargs: Any) -> RolloutSample:
        sample = self.inner.get(*args, **kwargs)
        self.note(sample)
        return sample

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
