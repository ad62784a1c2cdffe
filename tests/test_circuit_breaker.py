"""The circuit: opens loudly, probes rarely, closes when answers come."""

import logging

from trl_mle.circuit_breaker import FAILURES, Circuit


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def circuit():
    clock = Clock()
    return Circuit("The endpoint", 10.0, clock), clock


def test_single_failures_do_not_open_it():
    tested, _ = circuit()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            tested.failed("500")
        tested.succeeded()
        assert tested.admit()
        assert not tested.is_open


def test_it_opens_once_and_probes_ever_more_rarely(caplog):
    tested, clock = circuit()
    for _ in range(FAILURES + 5):
        tested.failed("no connection")
    assert tested.is_open
    for pause in (10, 20, 40, 80, 100, 100):
        clock.now += pause - 0.1
        assert not tested.admit()
        clock.now += 0.1
        assert tested.admit()
        assert not tested.admit(), "one probe at a time"
        tested.failed("no connection")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    clock.now += 100
    assert tested.admit()
    tested.succeeded()
    assert tested.admit()
    assert not tested.is_open
    assert len(caplog.records) == 2
    tested.failed("x")
    assert not tested.is_open, "it counts from the start again"


def test_a_permanent_error_opens_it_at_once():
    tested, _ = circuit()
    tested.failed("HTTP 401", permanent=True)
    assert tested.is_open


def test_a_probe_that_was_cancelled_does_not_block_the_next():
    tested, clock = circuit()
    tested.failed("HTTP 401", permanent=True)
    clock.now += 10
    assert tested.admit()
    tested.release()
    assert tested.admit()
