"""Evaluations (`trl-mle evaluate`) as tables of text. A file is read as data of any form: what is not there is a dash."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trl_mle.errors import ConfigError
from trl_mle.evaluation.table import TABLE_FILE
from trl_mle.reports.html.curves import rounded

MAX_ROWS = 500
MAX_CHARACTERS = 300
NOTHING = "-"
_ESTIMATE = {"value", "low", "high"}
Table = dict[str, Any]
Record = Mapping[str, Any]


def evaluations(runs: Sequence[Path], folders: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Each evaluation with its `title` and `tables`: `caption`, `headings` and `rows` of text.

    Args:
        runs (sequence of `Path`):
            Folders of runs. An evaluation in one of them, or in a folder in it, is shown if there is one.
        folders (sequence of `Path`, *optional*):
            Folders of evaluations, which must have one.

    Raises:
        ConfigError: one of `folders` holds no evaluation that can be read.
    """
    found = {}
    for folder in folders:
        content = _read(folder / TABLE_FILE)
        if content is None:
            raise ConfigError(f"No {TABLE_FILE} in {folder}. Give the `output_dir` of `trl-mle evaluate`.")
        found[folder.resolve()] = (folder.resolve().name, content)
    for run in (folder.resolve() for folder in runs):
        for path in [run / TABLE_FILE, *sorted(run.glob(f"*/{TABLE_FILE}"))]:
            content = _read(path)
            if content is not None:
                name = run.name if path.parent == run else f"{run.name}/{path.parent.name}"
                found.setdefault(path.parent.resolve(), (name, content))
    return [{"title": title, "tables": tables(content)} for title, content in found.values()]


def tables(content: Record) -> list[Table]:
    """The tables of one `evaluation.json` that are not empty."""
    entries = _records(content.get("entries"))
    settings = content.get("settings")
    shown = [
        _entries(entries),
        _by_size("Private score of the best of k, chosen by public score", entries, "best_at"),
        _by_size("Chance that one of k samples is valid", entries, "pass_at"),
        _plain(
            "Means over tasks",
            _records(content.get("overall")),
            ("policy", "kind", "group", "tasks", "valid_share", "score"),
        ),
        _plain(
            "Paired differences",
            _records(content.get("differences")),
            ("policy", "minus", "kind", "task_id", "pairs", "valid_share", "score"),
        ),
        _plain("Settings", [settings] if isinstance(settings, dict) else [], tuple(settings or ())),
    ]
    return [table for table in shown if table["rows"]]


_COLUMNS: Mapping[str, Callable[[Record], Any]] = {
    "policy": lambda entry: entry.get("policy"),
    "task": lambda entry: entry.get("task_id"),
    "held out": lambda entry: entry.get("held_out"),
    "prompts": lambda entry: entry.get("kind"),
    "samples": lambda entry: entry.get("n"),
    "valid share": lambda entry: entry.get("valid_share"),
    "time-outs": lambda entry: entry.get("timeouts"),
    "faults": lambda entry: entry.get("faults"),
    "samples to the first valid one": lambda entry: entry.get("samples_to_valid"),
    "best: public": lambda entry: _of(entry.get("best"), "public_score"),
    "best: private": lambda entry: _of(entry.get("best"), "private_score"),
    "medal": lambda entry: _of(entry.get("best"), "medal"),
    "seconds of a program": lambda entry: entry.get("run_seconds"),
    "tokens": lambda entry: entry.get("tokens"),
    "cost": lambda entry: entry.get("cost"),
}
"""Heading -> value of an entry. Columns that no entry has a value for are left out."""


def _entries(entries: Sequence[Record]) -> Table:
    names = [name for name, value in _COLUMNS.items() if any(value(entry) is not None for entry in entries)]
    rows = [[_as_text(_COLUMNS[name](entry)) for name in names] for entry in entries]
    return {"caption": "Policies and tasks", "headings": names, "rows": rows}


def _by_size(caption: str, entries: Sequence[Record], field: str) -> Table:
    """One column per number of samples."""
    found = [entry.get(field) for entry in entries]
    curves: list[dict[str, Any]] = [curve if isinstance(curve, dict) else {} for curve in found]
    sizes = sorted({size for curve in curves for size in curve if size.isdecimal() and len(size) < 10}, key=int)
    rows = [
        [
            *(_as_text(entry.get(name)) for name in ("policy", "task_id", "kind")),
            *(_as_text(curve.get(size)) for size in sizes),
        ]
        for entry, curve in zip(entries, curves, strict=True)
    ]
    return {
        "caption": caption,
        "headings": ["policy", "task", "prompts", *(f"k = {size}" for size in sizes)],
        "rows": rows if sizes else [],
    }


def _plain(caption: str, records: Sequence[Record], names: Sequence[str]) -> Table:
    rows = [[_as_text(record.get(name)) for name in names] for record in records]
    return {"caption": caption, "headings": [str(name).replace("_", " ") for name in names], "rows": rows}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _records(value: Any) -> list[Record]:
    return [record for record in value[:MAX_ROWS] if isinstance(record, dict)] if isinstance(value, list) else []


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _as_text(value: Any) -> str:
    """A value as text: an estimate with its interval, four digits of a number."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        number = rounded(value)
        return NOTHING if number is None else f"{number:.4g}"
    if isinstance(value, dict) and set(value) == _ESTIMATE:
        middle, low, high = (_estimated(value[name]) for name in ("value", "low", "high"))
        return middle if NOTHING in (low, high) else f"{middle} [{low}, {high}]"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def _estimated(value: Any) -> str:
    """A number of an estimate, with three digits."""
    number = rounded(value) if isinstance(value, (int, float)) else None
    return _as_text(value) if number is None else f"{number:.3g}"
