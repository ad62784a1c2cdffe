"""Early exit: whether the progress that a program prints shows that it cannot finish within its wall-clock limit.

Early termination of runs by their learning curves is an old idea (Domhan et al., IJCAI 2015). Here the only question is time.
Lines such as `Epoch 3/100`, `[CV 2/5]` or a bar of tqdm are counters. A counter predicts the end of its own loop, from the fastest
pace that it has shown. The program is hopeless if that end lies beyond a multiple of the limit.

Mistakes cost a good program, so doubt speaks for it. A loop that may be left before its end cannot be predicted: one word of such
a loop in the source (`break`, `patience`, `time`) switches the prediction off. What a program prints may be a lie, and a lie must
not pay: a program that is stopped counts as one that ran to its limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MOST_COUNTERS = 16
"""Counters that are followed at the same time."""
_LEAST_STEPS = 4
"""Steps that a counter must have made."""
_LEAST_SHARE = 0.1
"""Share of the limit for which it must have been followed."""
_CONFIRMATIONS = 3
"""Reports in a row that must all say the same."""
_SOURCE_CHARACTERS = 200_000
"""A longer program is not searched, which takes a twentieth of a second for this one."""
_TAIL_BYTES, _LINES, _LINE_CHARACTERS = 8192, 50, 200
"""Of what is printed between two looks, only the end is read: its cost is bounded, and the newest report says most."""

_FRACTION = re.compile(r"(?<![\w./])(\d{1,7}) ?(?:/| of ) ?(\d{1,7})(?![\w./]*\d)")
_NAMED = re.compile(r"epoch|iter|step|round|fold|trial|batch|boost|tree|cv|it/s|%\|", re.IGNORECASE)
_AT_START = re.compile(r"\W*\d")
_LEAVES_LOOPS = re.compile(
    r"\b(?:break|return|raise|yield|exit|_exit|quit|time|signal|alarm|threading|warm_start|tol)\b"
    r"|early|patience|no_change|timeout|time_|_time|perf_counter|monotonic|deadline|budget",
    re.IGNORECASE,
)


def may_leave_loops(source: str) -> bool:
    """Whether the text `source` has a word of programs that end a loop before its last step. Any doubt is a yes."""
    return len(source) > _SOURCE_CHARACTERS or _LEAVES_LOOPS.search(source) is not None


@dataclass
class _Counter:
    """One counter since it began to count up."""

    first: tuple[float, int]
    """Seconds and value of the first report."""
    middle: tuple[float, int]
    """Those of a report between a quarter and a half of the way to the last one."""
    next_middle: tuple[float, int]
    last: tuple[float, int]
    steps: int = 0
    hopeless: int = 0
    """Reports in a row that predicted an end far beyond the limit."""


class ProgressWatch:
    """Follows the counters of one stream of a program.

    Args:
        limit_s (`float`): wall-clock limit, in seconds.
        factor (`float`): how many times the limit a program must need before it counts as hopeless; at least 1.
    """

    def __init__(self, limit_s: float, factor: float):
        self._limit_s = limit_s
        self._factor = factor
        self._counters: dict[tuple[str, int], _Counter] = {}
        self._unread = b""
        self.needed_s: float | None = None
        """Seconds that the program needs in all, at the least, once that is hopeless."""

    def feed(self, data: bytes, now: float) -> bool:
        """Take in what was printed since the last call; whether the program is hopeless.

        Args:
            data (`bytes`): new output of the stream.
            now (`float`): seconds since the program's start.
        """
        if data and self.needed_s is None:
            text = (self._unread + data)[-_TAIL_BYTES:]
            # A bar ends with a carriage return, or begins with one.
            *lines, self._unread = re.split(rb"[\r\n]+", text)
            newest: dict[tuple[str, int], int] = {}
            for line in lines[-_LINES:]:
                newest.update(_read(line[:_LINE_CHARACTERS].decode("utf-8", "replace")))
            for key, value in newest.items():
                self._count(key, value, now)
        return self.needed_s is not None

    def _count(self, key: tuple[str, int], value: int, now: float) -> None:
        counter = self._counters.get(key)
        if counter is None or value < counter.last[1]:  # new, or a loop that begins again
            self._counters.pop(key, None)
            if len(self._counters) < MOST_COUNTERS:
                point = (now, value)
                self._counters[key] = _Counter(point, point, point, point)
            return
        if value == counter.last[1]:
            return
        counter.last = (now, value)
        counter.steps += 1
        if counter.steps & (counter.steps - 1) == 0:  # a power of two
            counter.middle, counter.next_middle = counter.next_middle, counter.last
        needed_s = self._needed_s(counter, key[1])
        far = needed_s is not None and needed_s > self._factor * self._limit_s
        counter.hopeless = counter.hopeless + 1 if far else 0
        if counter.hopeless >= _CONFIRMATIONS:
            self.needed_s = needed_s

    def _needed_s(self, counter: _Counter, total: int) -> float | None:
        """Seconds from the program's start to the last step of the counter, at its fastest pace; `None` if too little is known."""
        (start, first), (half, middle), (now, value) = counter.first, counter.middle, counter.last
        if counter.steps < _LEAST_STEPS or now - start < _LEAST_SHARE * self._limit_s:
            return None
        pace = max((value - first) / (now - start), (value - middle) / max(now - half, 1e-6))
        return now + (total - value) / pace


def _read(line: str) -> list[tuple[tuple[str, int], int]]:
    """Counters of one line: (name, total) and value."""
    found = []
    for match in _FRACTION.finditer(line):
        value, total = int(match[1]), int(match[2])
        before = line[max(0, match.start() - 40) : match.start()]
        named = _NAMED.search(before) or _AT_START.match(line)
        if named and 0 <= value <= total and total > 1:
            found.append(((re.sub(r"[\W\d]+", " ", before).strip().lower(), total), value))
    return found
