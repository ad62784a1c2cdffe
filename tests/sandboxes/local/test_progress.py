"""What is hopeless by its printed progress, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle import Limits
from trl_mle.sandboxes.local.runner.limits.early_exit import EarlyExit
from trl_mle.sandboxes.local.runner.limits.progress import MOST_COUNTERS, ProgressWatch, may_leave_loops

LIMIT_S = 60.0


def watched(lines, factor=3.0):
    """The watch after lines that were printed at their times."""
    watch = ProgressWatch(LIMIT_S, factor)
    for now, line in lines:
        watch.feed(f"{line}\n".encode(), now)
    return watch


def epochs(total, pace_s, until_s=LIMIT_S, form="Epoch {}/{}: loss 0.1"):
    return [(step * pace_s, form.format(step, total)) for step in range(1, total + 1) if step * pace_s <= until_s]


@pytest.mark.parametrize(
    "form",
    [
        "Epoch {}/{}",
        "epoch {} of {}",
        "[CV {}/{}] END",
        "[{}/{}] 1 tree, 31 leaves",
        " 3%|###       | {}/{} [00:03<01:57, 1.2s/it]",
        "iteration {} / {}",
        "fold 1, step {}/{}",
    ],
)
def test_the_forms_of_progress(form):
    watch = watched(epochs(1000, 2.0, form=form))
    assert watch.needed_s == pytest.approx(2000)


@pytest.mark.parametrize("line", ["accuracy {}/{}", "on {}/{}/2025", "input/{}/{}.csv", "0.{}/{}", "loss {}"])
def test_other_numbers_are_no_progress(line):
    assert watched(epochs(1000, 2.0, form=line)).needed_s is None


@given(total=st.integers(2, 10**6), pace_s=st.floats(0.2, 30), factor=st.floats(1.01, 10))
def test_a_program_that_would_end_in_time_is_never_stopped(total, pace_s, factor):
    total = min(total, int(LIMIT_S / pace_s))
    assert watched(epochs(max(total, 2), pace_s), factor).needed_s is None


@given(
    paces=st.lists(st.floats(0.01, 10), min_size=5, max_size=40),
    total=st.integers(5, 1000),
    factor=st.floats(1, 5),
)
def test_only_what_is_too_slow_at_its_fastest_pace_is_stopped(paces, total, factor):
    """At the fastest step, the whole loop takes this long; a loop that is stopped takes far longer."""
    times, now = [], 0.0
    for step, pace in enumerate(paces, start=1):
        now += pace
        times.append((now, f"epoch {step}/{total}"))
    if watched(times, factor).needed_s is not None:
        assert total * max(paces) > factor * LIMIT_S


def test_a_loop_that_gets_faster_is_judged_by_its_new_pace():
    assert watched(epochs(100, 6.0)).needed_s == pytest.approx(600)
    slow = epochs(100, 6.0, until_s=24.0)
    fast = [(24.0 + 0.1 * step, f"Epoch {4 + step}/100: loss 0.1") for step in range(1, 97)]
    assert watched([*slow, *fast]).needed_s is None


def test_an_inner_loop_that_starts_again_predicts_its_own_end_alone():
    inner = [(0.5 * step, f"batch {1 + step % 20}/20") for step in range(120)]
    assert watched(inner).needed_s is None
    outer = [(8.0 * fold, f"fold {fold}/50") for fold in range(1, 8)]
    assert watched(sorted([*inner, *outer])).needed_s == pytest.approx(400)


def test_one_report_is_not_enough():
    assert watched([(30.0, "epoch 1/1000000")]).needed_s is None
    assert watched(epochs(1000, 0.5, 3.0)).needed_s is None  # a twentieth of the limit


@given(output=st.lists(st.tuples(st.floats(0, 60), st.binary(max_size=200)), max_size=30))
def test_any_bytes_are_taken(output):
    watch = ProgressWatch(LIMIT_S, 2.0)
    for now, data in sorted(output):
        watch.feed(data, now)
    assert len(watch._counters) <= MOST_COUNTERS


def test_a_flood_costs_no_memory():
    watch = ProgressWatch(LIMIT_S, 2.0)
    watch.feed(b"x" * 10**6, 1.0)
    watch.feed(b"".join(b"epoch 1/%d\n" % total for total in range(10**4)), 2.0)
    assert len(watch._unread) <= 8192
    assert len(watch._counters) <= MOST_COUNTERS


@pytest.mark.parametrize(
    "source",
    [
        "for x in y:\n    break\n",
        "patience = 3\n",
        "EarlyStopping()\n",
        "import time\n",
        "n_iter_no_change=5",
        "raise Done",
        "pass\n" * 100_000,
    ],
    ids=lambda source: source[:20],
)
def test_a_loop_that_may_be_left_is_not_predicted(source):
    assert may_leave_loops(source)


def test_early_exit_is_off_by_default():
    class Output:
        content = bytearray()

    def stopped(limits, source="pass"):
        output = Output()
        output.content = bytearray()
        watch = EarlyExit(limits, source, [output])
        for now, line in epochs(1000, 2.0):
            output.content += f"{line}\n".encode()
            if watch.check(now):
                return now
        return None

    assert stopped(Limits()) is None
    assert stopped(Limits(early_exit=3.0)) < LIMIT_S / 2
    assert stopped(Limits(early_exit=3.0), "if done: break") is None
