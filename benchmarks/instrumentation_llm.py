"""The language model's part of `benchmarks/instrumentation.py`: asks it about each program, and says what came of it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import checkout  # noqa: F401

from tests.support.corpus import Comparison, Entry
from trl_mle.instrumentation import LLMInstrumenter, fallbacks, new_nonce
from trl_mle.instrumentation.llm.prompt import prompt_version
from trl_mle.language_models.backends import Answer, BackendError, Message
from trl_mle.language_models.cache import default_cache_dir
from trl_mle.types import PROGRAM_METRICS, Program

_CLAIMS = ("claims_kept", "claims_moved", "claims_dropped", "marks_added")
_NO_ANSWER = (fallbacks.UNAVAILABLE, fallbacks.TIMEOUT)


@dataclass(frozen=True)
class Asked:
    """What came of the question about one program."""

    claims: dict[str, int]
    """Claims of an accepted answer: kept, moved and dropped."""
    seconds: float | None
    """Seconds of the question when it was asked; `None` where nothing was asked or nobody measured."""
    load: float | None
    """Load of the machine (1 minute) when the question was asked."""


class KeptAnswers:
    """A backend that has no model: what is not in the cache is not answered."""

    def __init__(self, model: str):
        self.model = model

    async def complete(self, messages: Sequence[Message]) -> Answer:
        raise BackendError("not asked", down=True)

    async def aclose(self) -> None:
        return None


def make_instrumenter(
    endpoint: str | None, model: str, answer_format: str, folder: Path | None
) -> tuple[LLMInstrumenter, Path]:
    """The instrumenter, and the folder of its answers. Without `endpoint` it knows only these."""
    folder = folder or default_cache_dir()
    settings = {"model": model, "answer_format": answer_format, "cache_dir": str(folder)}
    settings |= {"endpoint": endpoint, "concurrency": 1, "request_timeout_s": 600.0, "wait_s": 3600.0}
    return LLMInstrumenter(backend=None if endpoint else KeptAnswers(model), **settings), folder


async def ask(entries: Iterable[Entry], instrumenter: LLMInstrumenter, folder: Path) -> dict[str, Asked]:
    """Ask about each program, one at a time, and note how long it took beside the answers; a rerun asks nothing twice.

    Programs without an answer are left out of the result.

    Raises:
        SystemExit: the endpoint does not answer.
    """
    entries = list(entries)
    log = folder / "seconds.jsonl"
    key = [instrumenter.backend.model, prompt_version(instrumenter.config.answer_format)]
    times = _times(log, key)
    asked: dict[str, Asked] = {}
    for number, entry in enumerate(entries, start=1):
        before, load, started = Counter(instrumenter.counts), os.getloadavg()[0], time.perf_counter()
        result = await instrumenter.instrument(Program("", entry.code), new_nonce())
        seconds = time.perf_counter() - started
        counts = instrumenter.counts - before
        if result.fallback_kind in _NO_ANSWER:
            if instrumenter.config.endpoint is None:
                continue
            raise SystemExit(f"{result.fallback_reason}. {len(asked)} answers are kept; start again to go on.")
        if counts["requests"]:
            times[entry.id] = (round(seconds, 2), round(load, 2))
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps([*key, entry.id, *times[entry.id]]) + "\n")
            words = result.fallback_reason or "accepted"
            print(f"{number} of {len(entries)}: {entry.id}, {seconds:.1f} s, {words}", file=sys.stderr, flush=True)
        asked[entry.id] = Asked({name: counts[name] for name in _CLAIMS}, *times.get(entry.id, (None, None)))
    return asked


def _times(log: Path, key: list[str]) -> dict[str, tuple[float, float]]:
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row[2]: (row[3], row[4]) for row in rows if row[:2] == key}


def report(comparisons: list[Comparison], asked: dict[str, Asked], instrumenter: LLMInstrumenter) -> dict[str, object]:
    """What the model adds to the figures of a run."""
    answers = [item for item in comparisons if item.fallback_kind not in fallbacks.AST_KINDS]
    parts: dict[str, list[Comparison]] = {"all": answers}
    for item in answers:
        for part in (item.entry.part, f"source: {item.entry.source}"):
            parts.setdefault(part, []).append(item)
    claims: Counter[str] = Counter()
    for found in asked.values():
        claims.update(found.claims)
    return {
        "model": instrumenter.backend.model,
        "answer_format": instrumenter.config.answer_format,
        "prompt_version": prompt_version(instrumenter.config.answer_format),
        "max_tokens": instrumenter.max_tokens,
        "never_sent": dict(
            Counter(item.fallback_kind for item in comparisons if item.fallback_kind in fallbacks.AST_KINDS)
        ),
        "accepted": {
            part: {
                "programs": len(items),
                "accepted": len(accepted(items)),
                "share": round(len(accepted(items)) / len(items), 4),
            }
            for part, items in sorted(parts.items())
        },
        "rejected": dict(Counter(item.fallback_kind for item in answers if item.fallback_kind is not None)),
        "claims": {name.split("_")[1]: claims[name] for name in _CLAIMS},
        "seconds_a_program": _seconds([found for found in asked.values() if found.seconds is not None]),
        "metrics": {
            "programs_with_a_report": sum(bool(item.metrics) for item in comparisons),
            "programs_with_a_value": sum(bool(item.values) for item in comparisons),
            "values": sum(len(item.values) for item in comparisons),
            **{
                name: {
                    "reported": sum(name in item.metrics for item in comparisons),
                    "with_a_value": sum(name in dict(item.values) for item in comparisons),
                }
                for name in PROGRAM_METRICS
            },
        },
    }


def accepted(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Those whose marks the model placed."""
    return [item for item in comparisons if item.fallback_kind is None]


def _seconds(asked: list[Asked]) -> dict[str, object] | None:
    seconds = [found.seconds for found in asked if found.seconds is not None]
    loads = [found.load for found in asked if found.load is not None]
    if len(seconds) < 2:
        return None
    return {
        "measured": len(seconds),
        "median": round(median(seconds), 1),
        "p90": round(quantiles(seconds, n=10, method="inclusive")[-1], 1),
        "median_load": round(median(loads), 2) if loads else None,
        "highest_load": max(loads, default=None),
    }


def write(result: dict[str, object], name: str, out: Path) -> None:
    """Put a run into the file, beside the others in it."""
    runs = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    runs[name] = result
    out.write_text(json.dumps(runs, indent=2) + "\n", encoding="utf-8")
