"""Outcomes to make prompts of."""

from __future__ import annotations

from typing import Any

from trl_mle.types import Execution, Grade, Outcome, Program

CODE = 'import pandas as pd\n\n# read\ntrain = pd.read_csv("input/train.csv")  # rows\nprint(train.shape)\n'


def earlier(kind: str = "valid", code: str = CODE, plan: str = "A plan.", reason: str | None = None, **execution: Any):
    """An outcome of the task `t`. Keywords are fields of its execution."""
    fields: dict[str, Any] = {
        "status": {"valid": "ok", "timeout": "timeout"}.get(kind, "error"),
        "exit_code": 0 if kind == "valid" else 1,
        "wall_s": 1.234,
        "cpu_s": 1.0,
        "max_rss_bytes": 1,
        "stdout": "hold-out score: 0.5\n",
        "stderr": "",
    }
    valid = kind == "valid"
    return Outcome(
        task_id="t",
        kind=kind,  # type: ignore[arg-type]
        reward=0.5,
        duration_s=1.234,
        program=Program(plan, code),
        execution=Execution(**(fields | execution)),
        public=Grade(0.12345678, True) if valid else Grade(None, False, reason) if reason else None,
        private=Grade(0.98765432, True) if valid else None,
    )
