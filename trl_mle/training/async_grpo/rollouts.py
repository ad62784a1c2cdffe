"""How durations travel with asynchronous rollouts: from reward functions in a child process to the trainer's queue.

A sample's seconds are in `RolloutSample.metrics["action_duration"]` (NaN for a program that never ran). A worker of the user's
own writes them there; TRL's worker does so with [`DurationRolloutLoop`].
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from trl_mle.errors import DurationError
from trl_mle.training.async_grpo.pacing import Pacing, PacingSettings, lost_after
from trl_mle.training.async_grpo.trl_imports import AsyncRolloutLoop, RolloutGroup, RolloutSample

logger = logging.getLogger(__name__)

SAMPLE_COLUMNS = ("action_duration", "action_cpu_duration", "action_censored")
"""Columns of `log_extra` that travel in `sample.metrics`. All others stay in the child process."""
VERSION = "sample/model_version"
"""Key of `sample.metrics`: version of the policy that wrote the sample."""
SCORING_UPDATES = "updates_while_scored"
"""Key of `sample.metrics`: versions of the policy that came while the sample's group was scored. Unless `late_programs` is
`"lose"`, they make no sample stale."""
LOST_AFTER = "lost_after_s"
"""Key of `sample.metrics` with `late_programs: lose`: seconds after which the sample is lost if it is dropped. See
[`lost_after`]."""


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
    poll_s: float = 0.05
    """Seconds between two looks at the version of the policy and at how many samples the learner has taken."""
    wait_warning_s: float = 120.0
    """Seconds for which an old group may hold up finished ones before the loop says so. The next warning comes after twice as
    many."""


class DurationRolloutLoop(AsyncRolloutLoop):
    """TRL's rollout loop with five changes.

    - A group starts when [`Pacing`] lets it, and its samples go to the learner when it says so, not as soon as they are there.

    - Samples carry the number of updates that were made while their programs ran, so that no program is dropped for being slow.
    - Reward functions may call `log_extra` and `log_metric`, as with `GRPOTrainer`, and durations go into the samples.
    - Several groups are scored at the same time. TRL scores one after another, so that each group would wait for the slowest
      program of the one before it.
    - At the end, programs that still run are stopped, and reward functions that have a method `aclose` are closed.

    Args:
        pacing ([`PacingSettings`], *optional*):
            How the learner takes samples. Without it, nothing is paced.
        kwargs:
            Those of TRL's loop.
    """

    timing = LoopTiming()
    pacing_settings: PacingSettings | None = None
    _pacing: Pacing | None = None

    def __init__(self, *, pacing: PacingSettings | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.pacing_settings = pacing

    async def _run_loops(self, stop_event: asyncio.Event) -> None:
        self._gates: dict[int, asyncio.Event] = {}  # groups that wait to start, in their order
        self._version_since: dict[int, float] = {}
        if self.pacing_settings is not None:
            self._counted = CountingQueue(self.rollout_buffer)
            self.rollout_buffer = self._counted  # type: ignore[assignment]  # TRL's loop puts its samples there
            if not self.pacing_settings.lossy:
                self._pacing = Pacing(self.pacing_settings, self.model_version)
        loops = asyncio.ensure_future(self._paced_loops(super()._run_loops(stop_event)))
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

    async def _paced_loops(self, loops: Awaitable[None]) -> None:
        """TRL's `loops`, while the gates are looked after. An error of either ends both."""
        running, gatekeeper = asyncio.ensure_future(loops), asyncio.ensure_future(self._look_after_gates())
        try:
            await asyncio.wait({running, gatekeeper}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                gatekeeper.result()  # raises its error; without pacing it ends at once
            await running
        finally:
            for task in (running, gatekeeper):
                task.cancel()
            await asyncio.wait({running, gatekeeper})

    async def _look_after_gates(self) -> None:
        held_up_since, warn_after_s = time.monotonic(), self.timing.wait_warning_s
        while self.pacing_settings is not None:
            self._open_gates()
            waited_s = time.monotonic() - held_up_since
            if self._pacing is None or not self._pacing.stands_still:
                held_up_since, warn_after_s = time.monotonic(), self.timing.wait_warning_s
            elif waited_s > warn_after_s:
                warn_after_s *= 2
                logger.warning(
                    "For %.0f s, scored groups have waited for older ones, which could be trained on too late otherwise. Give "
                    "programs a time limit, or raise `max_staleness` (%d).",
                    waited_s,
                    self._pacing.settings.max_staleness,
                )
            await asyncio.sleep(self.timing.poll_s)

    def _open_gates(self) -> None:
        version = self.model_version
        self._version_since.setdefault(version, time.monotonic())
        if self._pacing is None:
            return
        # Only then is it asked how much has been taken: not every system can tell.
        taken = 0 if self._pacing.settings.exact else self._counted.taken()
        self._pacing.observe(version, taken)
        while self._gates and self._pacing.may_start():
            group = next(iter(self._gates))
            self._pacing.start(group)
            self._gates.pop(group).set()

    async def _generate_one(self, *args: Any, **kwargs: Any) -> Any:
        group = kwargs.get("group_id")
        # TRL asks for the completions of a group one after another, and for those of the next group afterwards.
        if self._pacing is not None and group is not None and not self._pacing.has_started(group):
            gate = self._gates.setdefault(group, asyncio.Event())
            self._open_gates()
            await gate.wait()
        return await super()._generate_one(*args, **kwargs)

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
        began_at, began = getattr(self, "model_version", None), time.monotonic()
        if self._pacing is not None:
            # TRL has stamped the version at which the group came to the gate.
            group.model_version = self._pacing.version_of(group.group_id)
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
        if self.pacing_settings is not None and self.pacing_settings.lossy:
            stale_after_s = self._stale_after(group.model_version, self.pacing_settings.max_staleness, began)
            times = lost_after(columns.get("action_duration", [None] * rows), stale_after_s)
            for sample, row in zip(samples, owners, strict=True):
                sample.metrics[LOST_AFTER] = times[row]
        return samples if self._pacing is None else self._pacing.finish(group.group_id, samples)

    def _stale_after(self, version: int, max_staleness: int, began: float) -> float | None:
        """Seconds from `began` until a group of this version was too old; `None` if it is not."""
        times = [since for seen, since in self._version_since.items() if seen - version > max_staleness]
        return min(times) - began if times else None


class CountingQueue:
    """The queue to the learner; the only change is that it knows how many samples were taken out."""

    def __init__(self, inner: Any):
        self.inner = inner
        self._put = 0

    def put_nowait(self, sample: RolloutSample) -> None:
        self.inner.put_nowait(sample)
        self._put += 1

    def taken(self) -> int:
        """Samples that the learner has taken."""
        return self._put - self.inner.qsize()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class PaceRollouts(TrainerCallback):
    """Tells TRL's worker, before it starts its child process, how the learner takes samples.

    Args:
        trainer ([`AsyncDurationAwareTrainer`]):
            Its `rollout_worker` is TRL's own.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        processes = self.trainer.accelerator.num_processes
        exact = args.token_budget is not None and args.token_budget <= 0
        # With a token budget every process gets one sample at least per micro-batch, and as many as fit.
        per_micro_batch = processes * (args.per_device_train_batch_size if exact else 1)
        settings = PacingSettings(
            max_staleness=args.max_staleness,
            group_size=args.num_generations,
            samples_per_update=per_micro_batch * args.gradient_accumulation_steps,
            micro_batches=args.gradient_accumulation_steps,
            updates_per_version=args.weight_sync_steps,
            updates_before=state.global_step % args.weight_sync_steps,
            exact=exact,
            lossy=args.late_programs == "lose",
        )
        if exact and settings.is_tight and not settings.lossy:
            logger.warning(
                "`max_staleness`=%d leaves no room for a group of %d samples beside updates of %d: some samples are trained on "
                "one update later. Raise `max_staleness` to be exact.",
                settings.max_staleness,
                settings.group_size,
                settings.samples_per_update,
            )
        self.trainer.rollout_worker._loop_kwargs["pacing"] = settings


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
