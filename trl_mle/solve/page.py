"""`write_page`: one self-contained HTML file that says what a search tried.

Text of programs is data: it is escaped, and the page forbids scripts and the network to itself.
"""

from __future__ import annotations

import base64
import difflib
import io
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trl_mle.prompts.quoting import clean_output
from trl_mle.solve.attempts import Attempt
from trl_mle.solve.reasons import commonest, reason_of
from trl_mle.types import MILESTONES
from trl_mle.whole_files import write_whole

if TYPE_CHECKING:
    from jinja2 import Template

    from trl_mle.solve.problem import Problem

logger = logging.getLogger(__name__)

PAGE = "page.html"
MOST_ROWS = 5000
"""Attempts in the table. With more, the newest are left out first, except those that became the best."""
SHOWN_CODE = 100_000
"""Characters of a program that are shown."""


@dataclass(frozen=True)
class Ending:
    """How a search ended, for its page."""

    reason: str
    """Why it ended, or that it still goes on."""
    seconds: float
    """Seconds of search, earlier sessions included."""
    models: tuple[str, ...]
    """Policies that were sampled."""


def write_page(
    path: Path, problem: Problem, attempts: Sequence[Attempt], best: Attempt | None, ending: Ending
) -> None:
    """Write the page of a search.

    Raises:
        ConfigError: the file cannot be written.
    """
    by_id = {attempt.id: attempt for attempt in attempts}
    kinds = Counter(attempt.outcome.kind for attempt in attempts)
    accepted = [attempt for attempt in attempts if attempt.facts is not None and attempt.facts.accepted]
    kept = attempts[:MOST_ROWS] if len(attempts) > MOST_ROWS else attempts
    rows = sorted({attempt.id: attempt for attempt in (*kept, *accepted)}.values(), key=lambda attempt: attempt.id)
    text = _template().render(
        problem=problem,
        task=problem.task,
        ending=ending,
        minutes=ending.seconds / 60,
        best=None if best is None else _row(best, best),
        code=None if best is None or best.outcome.program is None else _code(best.outcome.program.code),
        plan=""
        if best is None or best.outcome.program is None
        else clean_output(best.outcome.program.plan, SHOWN_CODE),
        lineage=[] if best is None else _lineage(best, by_id),
        counts={
            "attempts": len(attempts),
            **{kind: kinds.get(kind, 0) for kind in ("valid", "failure", "timeout", "fault")},
        },
        tokens=sum(attempt.facts.tokens or 0 for attempt in attempts if attempt.facts is not None),
        program_s=sum(attempt.outcome.duration_s or 0.0 for attempt in attempts),
        reasons=commonest(attempts, 8),
        rows=[_row(attempt, best) for attempt in rows],
        left_out=len(attempts) - len(rows),
        picture=_picture(attempts, problem),
    )
    write_whole(path, text)


@lru_cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    return environment.get_template("page.html.j2")


def _row(attempt: Attempt, best: Attempt | None) -> dict[str, Any]:
    outcome, facts = attempt.outcome, attempt.facts
    return {
        "id": attempt.id,
        "minute": None if facts is None else facts.second / 60,
        "kind": attempt.experience.prompt_kind,
        "parent": attempt.experience.parent_id,
        "result": outcome.kind,
        "public": outcome.public.score if outcome.public else None,
        "private": outcome.private.score if outcome.private else None,
        "medal": outcome.private.medal if outcome.private else None,
        "percentile": outcome.private.percentile if outcome.private else None,
        "seconds": outcome.duration_s,
        "milestones": f"{len(outcome.execution.milestones)}/{len(MILESTONES)}" if outcome.execution else "",
        "tokens": None if facts is None else facts.tokens,
        "reason": reason_of(attempt),
        "accepted": facts is not None and facts.accepted,
        "mean": None if facts is None else facts.mean,
        "is_best": best is not None and attempt.id == best.id,
    }


def _lineage(best: Attempt, by_id: dict[int, Attempt]) -> list[dict[str, Any]]:
    """The best attempt and its parents, the newest first, each with the difference from its parent."""
    chain: list[dict[str, Any]] = []
    at: Attempt | None = best
    while at is not None and len(chain) < 20:
        parent = by_id.get(at.experience.parent_id or 0)
        difference = "" if parent is None else _difference(parent, at)
        chain.append({**_row(at, best), "difference": difference})
        at = parent
    return chain


def _difference(parent: Attempt, child: Attempt) -> str:
    old, new = (_code(attempt.outcome.program.code) if attempt.outcome.program else "" for attempt in (parent, child))
    if max(len(old), len(new)) > SHOWN_CODE // 4:  # the comparison takes the square of the length
        return ""
    names = (f"attempt {parent.id}", f"attempt {child.id}")
    return "\n".join(difflib.unified_diff(old.split("\n"), new.split("\n"), *names, lineterm=""))


def _code(code: str) -> str:
    return code if len(code) <= SHOWN_CODE else f"{code[:SHOWN_CODE]}\n# {len(code) - SHOWN_CODE} more characters"


def _number(value: float | None, digits: int = 5) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _picture(attempts: Sequence[Attempt], problem: Problem) -> str | None:
    """Public scores over the minutes as a data URI of an SVG; `None` without valid attempts or without matplotlib."""
    points = [
        (attempt.facts.second / 60, attempt.outcome.public.score)
        for attempt in attempts
        if attempt.facts is not None and attempt.score is not None and attempt.outcome.public is not None
    ]
    points = [(minute, score) for minute, score in points if score is not None]
    if not points:
        return None
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    choose = max if problem.task.direction == "maximize" else min
    minutes, scores = zip(*points, strict=True)
    bests = list(accumulate(scores, choose))
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(minutes, scores, ".", color="#8d99ae", label="valid attempts")
    axes.step(minutes, bests, where="post", color="#2a9d5c", label="best so far")
    axes.set_xlabel("minutes")
    axes.set_ylabel(problem.task.metric_text or problem.task.metric)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
