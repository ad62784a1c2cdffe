"""Evaluation results beside a run, as tables: `evaluation.json` in its folder or in one folder below it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trl_mle.reports.html.curves import rounded
from trl_mle.reports.html.loading import LoadedRun

EVALUATION_FILE = "evaluation.json"
MAX_FILES = 20
MAX_ROWS = 500
MAX_COLUMNS = 30
MAX_CHARACTERS = 300


def evaluations(runs: Sequence[LoadedRun]) -> list[dict[str, Any]]:
    """Each evaluation with a `title` and its `tables`: `caption`, `headings` and `rows` of text. Damaged files are left out."""
    found = []
    for run in runs:
        files = [run.folder / EVALUATION_FILE, *sorted(run.folder.glob(f"*/{EVALUATION_FILE}"))]
        for path in files[:MAX_FILES]:
            if (content := _read(path)) is not None:
                where = path.parent.relative_to(run.folder).as_posix()
                title = run.name if where == "." else f"{run.name}: {where}"
                found.append({"title": title, "tables": tables(content)})
    return found


def tables(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lists of records, records by name and single values of `content`, each kind as a table."""
    single = {name: value for name, value in content.items() if _is_single(value)}
    shown = [_facts(single)] if single else []
    for name, value in content.items():
        records = _records(value)
        if records:
            shown.append(_table(str(name), records))
    return shown


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _records(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, list):
        return [record for record in value if isinstance(record, dict)]
    if isinstance(value, dict) and value:
        if all(isinstance(record, dict) for record in value.values()):
            return [{"": name, **record} for name, record in value.items()]
        return [value]
    return []


def _table(caption: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for record in records for name, value in record.items() if not _is_curve(value)))
    names = names[:MAX_COLUMNS]
    return {
        "caption": caption.replace("_", " "),
        "headings": [str(name).replace("_", " ") for name in names],
        "rows": [[_as_text(record.get(name)) for name in names] for record in records[:MAX_ROWS]],
    }


def _facts(single: Mapping[str, Any]) -> dict[str, Any]:
    rows = [[str(name).replace("_", " "), _as_text(value)] for name, value in single.items()]
    return {"caption": "", "headings": ["", "value"], "rows": rows}


def _is_single(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _is_curve(value: Any) -> bool:
    """Whether a value is too long for a cell: a list with more than an interval's two ends."""
    return isinstance(value, (list, dict)) and len(value) > 4


def _as_text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        number = rounded(value)
        return "-" if number is None else f"{number:.4g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_as_text, value))}]"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_as_text(item)}" for name, item in value.items())
    text = str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
