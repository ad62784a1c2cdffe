"""What a run writes beside its rollouts: its settings and its log. Each may be missing or cut off, as a run may be going on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trl_mle.yaml_values import Loader

CONFIG_FILE = "config.yaml"
LOG_FILE = "metrics.jsonl"


def read_settings(folder: Path) -> dict[str, Any]:
    """Sections of `config.yaml` of the run in `folder`; empty if there is none that can be read."""
    try:
        content = yaml.load((folder / CONFIG_FILE).read_text(encoding="utf-8"), Loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def read_log(folder: Path) -> Iterator[dict[str, Any]]:
    """Entries of the trainer's log: `metrics.jsonl`, or the history in the state of the newest checkpoint.

    Damaged entries are left out.
    """
    metrics = folder / LOG_FILE
    if metrics.is_file():
        with metrics.open("rb") as lines:
            entries = map(_parsed, lines)
            yield from (entry for entry in entries if isinstance(entry, dict))
        return
    states = list(folder.glob("checkpoint-*/trainer_state.json"))
    for path in sorted(states, key=lambda path: path.stat().st_mtime, reverse=True):
        state = _parsed(path.read_bytes())
        history = state.get("log_history") if isinstance(state, dict) else None
        yield from (entry for entry in history or () if isinstance(entry, dict))


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # a killed run may cut its last line off
        return None
