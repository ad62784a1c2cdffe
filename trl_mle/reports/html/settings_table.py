"""Settings of the runs side by side: those that differ first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trl_mle.reports.html.loading import LoadedRun

MAX_CHARACTERS = 200
"""Longest value that is shown."""
SECTIONS = ("mle", "training", "model", "versions")
"""Sections of `config.yaml` in the order of the table."""


def settings_rows(runs: Sequence[LoadedRun]) -> list[dict[str, Any]]:
    """Each setting with `name`, one of `values` per run, and whether they `differ`."""
    flat = [_flat(run.settings) for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = []
    for name in names:
        values = [settings.get(name, "") for settings in flat]
        rows.append({"name": name, "values": values, "differ": len(set(values)) > 1})
    return rows


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    sections = [*SECTIONS, *(name for name in settings if name not in SECTIONS)]
    return {
        f"{section}.{name}": _as_text(value)
        for section in sections
        if isinstance(content := settings.get(section), Mapping)
        for name, value in content.items()
    }


def _as_text(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"
