"""Pacing of asynchronous rollouts in virtual time: nothing is lost, nothing is too old, and the run always goes on."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from trl_mle.training.async_grpo.pacing import Pacing, PacingSettings, lost_after


@dataclass
class Run:
    """A learner that takes one micro-batch ahead, and rollouts whose groups end in any order, in virtual time.

    Every step of the learner takes a second. A version is seen by the rollouts a moment after it was made.
    """

    pacing: PacingSettings
    durations: list[float]
    """Seconds of the groups, in turn; infinite never."""
    sizes: list[int]
    """Samples of the groups, in turn."""
    slots: int
    sizes_of_steps: list[int] = field(default_factory=list)
    """Samples of the updates, in turn, if their number varies."""
    delay_s: float = 0.05
    ages: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    started: int = 0

    def go(self, updates: int) -> None:
        settings = self.pacing
        version, step, now, taken = 3, settings.updates_before, 0.0, 0
        known = [(-math.inf, version)]  # when the rollouts see which version
        pacing = Pacing(settings, version)
        running: list[tuple[float, int]] = []
        queue: list[tuple[int, int]] = []
        started_at: dict[int, int] = {}
        busy_until, trained = 0.0, 0
        while trained < updates:
            seen = [at for when, at in known if when <= now][-1]
            pacing.observe(seen, taken)
            while len(running) < self.slots and pacing.may_start():
                group, self.started = self.started, self.started + 1
                pacing.start(group)
                started_at[group] = seen
                heapq.heappush(running, (now + self.durations[group % len(self.durations)], group))
            # What has ended by now goes to the queue, if it may.
            if running and running[0][0] <= now:
                _, group = heapq.heappop(running)
                size = self.sizes[group % len(self.sizes)]
                queue += pacing.finish(group, [(group, started_at[group])] * size)
                continue
            size = (
                self.sizes_of_steps[trained % len(self.sizes_of_steps)]
                if self.sizes_of_steps
                else settings.samples_per_update
            )
            ahead = math.ceil(size / settings.micro_batches)
            if now >= busy_until and len(queue) >= size + ahead:
                batch, queue = queue[:size], queue[size:]
                # What is taken ahead is counted as taken before the update that trains on it.
                taken = len(self.order) + size + ahead
                self.order += [group for group, _ in batch]
                self.ages += [version - at for _, at in batch]
                busy_until, trained, step = now + 1.0, trained + 1, step + 1
                if step % settings.updates_per_version == 0:
                    version += 1
                    known.append((busy_until + self.delay_s, version))
                continue
            if not settings.exact and now >= busy_until:
                taken = len(self.order) + min(len(queue), size + ahead)  # it takes what there is
                pacing.observe(seen, taken)
                if len(running) < self.slots and pacing.may_start():
                    continue
            times = [when for when, _ in known if when > now] + [busy_until] * (busy_until > now)
            times += [running[0][0]] if running else []
            assert times and min(times) < math.inf, "the run stands still for ever"
            now = min(times)


DURATIONS = st.lists(
    st.one_of(st.floats(0.0, 3.0), st.floats(0.0, 200.0), st.sampled_from([0.0, 1e4])), min_size=1, max_size=40
)


def make(max_staleness, group, update, micro, per_version, before, **changes):
    micro = max(m for m in range(1, micro + 1) if update % m == 0)
    return PacingSettings(max_staleness, group, update, micro, per_version, before % per_version, **changes)


@settings(max_examples=examples(150), deadline=None)
@given(
    DURATIONS,
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
    st.integers(0, 6),
    st.integers(1, 6),
    st.integers(1, 24),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 40),
)
@example([1e4, 0.1, 0.1, 0.1], [4], 1, 4, 8, 2, 1, 0, 64)
@example([1.0, 0.0, 0.0], [1, 0, 0], 1, 1, 4, 1, 2, 0, 9)  # the groups that end first are empty
def test_nothing_is_too_old_or_lost_and_the_run_goes_on(
    durations, fewer, max_staleness, group, update, micro, per_version, before, slots
):
    pacing = make(max_staleness, group, update, micro, per_version, before)
    sizes = [min(size, group) for size in fewer]  # a completion without a trained token gives no sample
    if not any(sizes):
        sizes = [group]
    run = Run(pacing, durations, sizes, slots)
    run.go(25)
    assert run.started and len(run.order) == 25 * update
    if not pacing.is_tight:
        assert max(run.ages) <= max_staleness
    counts = [run.order.count(key) for key in range(run.started)]
    wanted = [sizes[key % len(sizes)] for key in range(run.started)]
    # Whole groups, apart from what is still under way at the end.
    whole = [key for key in range(run.started) if counts[key] == wanted[key]]
    bound = (max_staleness + 1) * update * per_version + 2 * group + update
    assert sum(wanted) - sum(wanted[key] for key in whole) <= bound + group


@settings(max_examples=examples(60), deadline=None)
@given(DURATIONS, st.lists(st.integers(4, 40), min_size=1, max_size=8), st.integers(0, 4), st.integers(1, 40))
def test_with_a_varying_number_of_samples_the_run_goes_on(durations, steps, max_staleness, slots):
    pacing = PacingSettings(max_staleness, 4, 2, 2, exact=False)
    run = Run(pacing, durations, [4], slots, steps)
    run.go(25)
    assert len(run.order) >= 25 * min(steps)


def test_a_straggler_is_waited_for_and_younger_groups_go_first_until_then():
    settings = PacingSettings(max_staleness=2, group_size=4, samples_per_update=8, micro_batches=2)
    run = Run(settings, [20.0] + [0.1] * 200, [4], slots=64)
    run.go(10)
    place = run.order.index(0)
    # The straggler started at the first of three versions that may train on it, and goes with the last of them.
    assert run.ages[place] == 2
    assert place >= 2 * 8
    assert max(run.ages) == 2


def test_no_more_starts_than_can_be_trained_on():
    pacing = Pacing(PacingSettings(max_staleness=3, group_size=4, samples_per_update=8, micro_batches=4), 1)
    started = 0
    while pacing.may_start():
        pacing.start(started)
        started += 1
    assert started == (3 + 1) * 8 // 4
    pacing.observe(2, 8)
    assert pacing.may_start()


def test_a_group_that_nobody_announced_starts_when_it_is_scored():
    pacing = Pacing(PacingSettings(max_staleness=1, group_size=2, samples_per_update=2), 4)
    assert pacing.version_of(7) == 4
    assert pacing.finish(7, "ab") == ["a", "b"]
    assert pacing.finish(8, "cd") == ["c", "d"]


@pytest.mark.parametrize(
    ("changes", "tight"),
    [({}, False), ({"max_staleness": 0}, True), ({"group_size": 17}, True), ({"samples_per_update": 4}, True)],
)
def test_tight_settings_are_known(changes, tight):
    settings = {"max_staleness": 1, "group_size": 8, "samples_per_update": 16, "micro_batches": 4, **changes}
    assert PacingSettings(**settings).is_tight is tight


@pytest.mark.parametrize(
    ("durations", "stale_after_s", "expected"),
    [
        ([1.0, 5.0, None], 3.0, [0.0, 3.0, 0.0]),  # the first is lost because of the second
        ([1.0, 5.0, 4.0], 3.0, [0.0, 0.0, 0.0]),
        ([1.0, 5.0, math.nan], None, [0.0, 5.0, 0.0]),  # it became too old in the queue
        ([1.0, 5.0], -2.0, [0.0, 0.0]),  # it was too old before its programs began
        ([2.0], 1.0, [1.0]),
    ],
)
def test_when_samples_of_a_group_are_lost(durations, stale_after_s, expected):
    assert lost_after(durations, stale_after_s) == expected


def test_inverse_inclusion_is_right_for_groups_that_are_lost():
    """The lossy mode: groups of 4 are lost when their slowest program is slower than the time until they are too old."""
    from trl_mle.training.weighting.inclusion import InclusionModel

    random = torch.Generator().manual_seed(0)
    groups = 12_000
    seconds = (1.2 * torch.randn(groups, 4, generator=random, dtype=torch.float64)).exp()
    stale = 2.0 + 10.0 * torch.rand(groups, generator=random, dtype=torch.float64)
    kept = seconds.amax(1) <= stale
    model = InclusionModel("measured", memory=4 * groups)
    times = torch.tensor(
        [lost_after(row, after) for row, after in zip(seconds[~kept].tolist(), stale[~kept].tolist(), strict=True)]
    )
    model.observe(seconds[kept].flatten())
    model.observe(times.flatten(), True)
    included = seconds[kept].flatten()
    weights = 1.0 / model.probability(included)
    edges = seconds.flatten().quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))

    def shares(weights):
        quarter = torch.bucketize(included, edges)
        return torch.stack([weights[quarter == q].sum() for q in range(4)]) / weights.sum()

    reach = (seconds.flatten() <= 12.0).double().mean()  # slower ones are never kept
    assert shares(torch.ones_like(included))[3] < 0.2
    assert torch.allclose(shares(weights), torch.tensor([0.25, 0.25, 0.25, 0.25 - (1 - reach)]) / reach, atol=0.01)
