"""Turns as text of a rollout's table, and the columns of an episode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from trl_mle.environments.actions import Action
from trl_mle.environments.episode import Turn
from trl_mle.outcomes import shorten
from trl_mle.types import Grade

KEPT_CHARACTERS = 2000
"""Most characters of stdout, of stderr, and of an argument that holds no program, in a turn."""


def turns_as_text(actions: Sequence[Action]) -> str:
    """The turns of a completion as JSON: a list with one object per turn. It holds neither a nonce nor a submission."""
    return json.dumps(
        [_as_object(number, turn) for number, action in enumerate(actions) for turn in action.turns], default=str
    )


def read_turns(text: str | None) -> list[dict[str, Any]]:
    """The turns in a row of the column `turns`; an empty list if the rollout had none, or is of another kind.

    Each turn has the keys

    - `action`: number of the policy's message that called the tool, from 0;
    - `tool`, `code`, `observation`: the call and its answer;
    - `refused`: why the call did nothing, or `None`;
    - `value`: reward of the episode if it ended after this turn; `None` after an infrastructure fault;
    - `kind`, `status`, `reward`, `seconds`, `cpu_seconds`, `milestones`, `metrics`, `public_score`, `private_score`, `reason`,
      `fault`, `stdout`, `stderr`: the program and its outcome; `None` if none ran. `reason` says why a submission is invalid.
    """
    if not isinstance(text, str) or not text:
        return []
    turns = json.loads(text)
    return [turn for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []


def _as_object(action: int, turn: Turn) -> dict[str, Any]:
    outcome, code = turn.outcome, turn.arguments.get("code")
    execution = outcome.execution if outcome is not None else None
    public = outcome.public if outcome is not None else None
    if outcome is not None and outcome.program is not None:
        code = outcome.program.code
    elif code is not None:
        code = shorten(_as_text(code), KEPT_CHARACTERS)
    return {
        "action": action,
        "tool": turn.tool,
        "code": None if code is None else _as_text(code),
        "observation": turn.observation,
        "refused": turn.refused,
        "value": turn.value,
        "kind": None if outcome is None else outcome.kind,
        "status": None if execution is None else execution.status,
        "reward": None if outcome is None else outcome.reward,
        "seconds": turn.seconds,
        "cpu_seconds": turn.cpu_seconds,
        "milestones": None if execution is None else [str(name) for name in execution.milestones],
        "metrics": None if execution is None else dict(execution.metrics),
        "public_score": _score(public),
        "private_score": _score(None if outcome is None else outcome.private),
        "reason": None if public is None else public.reason,
        "fault": None if outcome is None else outcome.fault,
        "stdout": None if execution is None else shorten(execution.stdout, KEPT_CHARACTERS),
        "stderr": None if execution is None else shorten(execution.stderr, KEPT_CHARACTERS),
    }


def _as_text(value: Any) -> str:
    """`value`, which a policy may have chosen, as text that UTF-8 has."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # too deep
        text = f"<{type(value).__name__}>"
    return text.encode(errors="replace").decode()


def _score(grade: Grade | None) -> float | None:
    return None if grade is None else grade.score
