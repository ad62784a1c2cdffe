"""`Refusal`: why a table or a target gives no task."""

from __future__ import annotations


class Refusal(Exception):
    """A table or a target that gives no task. `reason` is one of few and is counted; `detail` has the figures."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail
