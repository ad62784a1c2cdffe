"""Parsing in several threads at once."""

import gc
import sys
import threading
import warnings
from pathlib import Path

import pytest

import trl_mle
from trl_mle.parsing import parse_quietly


def test_threads_do_not_disturb_each_other():
    """Without the lock, Python before 3.11.8 raises a SystemError here within a second."""
    code = Path(trl_mle.__file__).read_text(encoding="utf-8") * 5 + "'\\d'\n"
    failures = []

    def work(depth):
        if depth:
            return work(depth - 1)
        for _ in range(40):
            try:
                parse_quietly(code)
            except BaseException as error:
                failures.append(repr(error))

    def collecting(phase, info):
        return [None for _ in range(200)]

    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    filters = list(warnings.filters)
    gc.callbacks.append(collecting)
    sys.setswitchinterval(1e-6)
    gc.set_threshold(200, 2, 2)
    try:
        threads = [threading.Thread(target=work, args=(depth,)) for depth in (0, 5, 10, 20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.callbacks.remove(collecting)
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
    assert failures == []
    assert warnings.filters == filters


@pytest.mark.parametrize(
    "text", [f"import {'a.' * 9000}a", "from " + "a . \\\n" * 400 + "a import b", "x" + "\u0315\u0300" * 9000]
)
def test_names_that_keep_the_parser_busy_are_not_parsed(text):
    with pytest.raises(ValueError, match=r"parts|combining"):
        parse_quietly(text)


@pytest.mark.parametrize(
    "text",
    [f"x = {'a.' * 200}a", f"x = [{'0.5, ' * 9000}]", "x = '" + "e\u0301" * 9000 + "'", f"x = '{'a' * 90000}...'"],
)
def test_long_texts_are_parsed(text):
    parse_quietly(text)


def test_errors_are_those_of_the_parser():
    with pytest.raises(SyntaxError):
        parse_quietly("(")
