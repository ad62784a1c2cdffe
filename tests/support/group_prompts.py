"""A `GroupPrompts` that writes down what it is asked and told, and fails on request."""

from __future__ import annotations


class Chooser:
    """Gives each group a prompt that names generation and group. `failing` is the method that raises, at generation 1."""

    def __init__(self, failing: str | None = None):
        self.failing = failing
        self.asked: list[tuple[int, list[str]]] = []
        self.batches: list[dict[str, list]] = []
        self.loaded: dict | None = None

    def choose(self, rows, generation):
        self._fail("choose", generation)
        self.asked.append((generation, [row["prompt"] for row in rows]))
        return [{"prompt": f"batch {generation} group {group}: ", "place": group} for group in range(len(rows))]

    def observe(self, columns):
        self._fail("observe", len(self.batches))
        self.batches.append(dict(columns))
        return {"improve/batches": float(len(self.batches))}

    def state_dict(self):
        self._fail("state_dict", 1)
        return {"batches": len(self.batches)}

    def load_state_dict(self, state):
        self._fail("load_state_dict", 1)
        self.loaded = state

    def _fail(self, method, generation):
        if self.failing == method and generation == 1:
            raise RuntimeError(f"no {method} today")
