"""`examples`: how many examples a costly property test tries."""

from hypothesis import settings

SHARE = 4


def examples(n: int) -> int:
    """`n` where new examples are searched for (`make test-slow`), a quarter where the same ones come in every run."""
    return n // SHARE if settings.default is not None and settings.default.derandomize else n
