"""CircuitBreaker: opens with one warning, probes at growing intervals, closes when an answer comes."""

import logging

from trl_mle.circuit_breaker import FAILURES, CircuitBreaker


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def make_breaker():
    clock = Clock()
    return CircuitBreaker("The endpoint", 10.0, clock), clock


def test_single_failures_do_not_open_it():
    breaker, _ = make_breaker()
    for _ in range(10):
        for _ in range(FAILURES - 1):
            breaker.failed("500")
        breaker.succeeded()
        assert breaker.admit()
        assert not breaker.is_open


def test_it_opens_once_and_probes_ever_more_rarely(caplog):
    breaker, clock = make_breaker()
    for _ in range(FAILURES + 5):
        breaker.failed("no connection")
    assert breaker.is_open
    for pause in (10, 20, 40, 80, 100, 100):
        clock.now += pause - 0.1
        assert not breaker.admit()
        clock.now += 0.1
        assert breaker.admit()
        assert not breaker.admit(), "one probe at a time"
        breaker.failed("no connection")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    clock.now += 100
    assert breaker.admit()
    breaker.succeeded()
    assert breaker.admit()
    assert not breaker.is_open
    assert len(caplog.records) == 2
    breaker.failed("x")
    assert not breaker.is_open, "it counts from the start again"


def test_a_permanent_error_opens_it_at_once():
    breaker, _ = make_breaker()
    breaker.failed("HTTP 401", permanent=True)
    assert breaker.is_open


def test_a_probe_that_was_cancelled_does_not_block_the_next():
    breaker, clock = make_breaker()
    breaker.failed("HTTP 401", permanent=True)
    clock.now += 10
    assert breaker.admit()
    breaker.release()
    assert breaker.admit()
