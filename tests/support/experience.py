"""Outcomes for stores, made by hand."""

from __future__ import annotations

from trl_mle.types import Execution, Grade, Outcome, Program


def valid(reward: float, code: str | None = None, task_id: str = "toy", private: float | None = None) -> Outcome:
    """A valid program with this reward; by default one that no other reward has."""
    code = f"print({reward!r})" if code is None else code
    grade, hidden = Grade(reward, True), Grade(reward if private is None else private, True)
    ran = Execution("ok", 0, 1.0, 1.0, 2**20, f"scored {reward}\n", "")
    return Outcome(
        task_id, "valid", reward, 1.0, {"score": reward}, program=Program("Try it.", code), execution=ran, public=grade,
        private=hidden,
    )  # fmt: skip


def failed(code: str = "1 / 0", kind: str = "failure", task_id: str = "toy") -> Outcome:
    """A program that fails, runs out of time (`timeout`) or meets an infrastructure fault (`fault`)."""
    if kind == "fault":
        return Outcome(task_id, "fault", None, None, program=Program("", code), fault="the node is gone")
    ran = Execution("error" if kind == "failure" else "timeout", 1, 1.0, 1.0, 2**20, "", "ZeroDivisionError")
    parts = {"failure": -10.0, "milestones": 0.0}
    return Outcome(task_id, kind, -10.0, 1.0, parts, program=Program("", code), execution=ran)  # type: ignore[arg-type]
