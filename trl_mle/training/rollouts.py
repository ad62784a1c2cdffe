"""Every rollout on disk, as Parquet files that `datasets` reads back."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars


class RolloutWriter:
    """Writes each generation batch to `folder/<mode>_<step>_<k>.parquet`, the `k`-th batch generated at that step.

    A resumed run that repeats a step writes the same file names, so that no rollout is counted twice.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._last: tuple[str, int, int] | None = None

    def write(
        self, logs: Mapping[str, Any], *, rows: int, step: int, mode: str, extra_columns: Collection[str]
    ) -> Path:
        """Write the newest `rows` of TRL's log of completions, `GRPOTrainer._logs`. Returns the file's path.

        Of the columns that reward functions log, only `extra_columns` are written: those that belong to these rows.
        """
        if self._last is None:
            self._drop_abandoned(mode, step)
        index = self._last[2] + 1 if self._last is not None and self._last[:2] == (mode, step) else 0
        self._last = (mode, step, index)
        table: dict[str, list] = {
            "step": [step] * rows,
            "prompt": _newest(logs["prompt"], rows),
            "completion": _newest(logs["completion"], rows),
            "advantage": _newest(logs["advantages"], rows),
        }
        table.update({name: _newest(column, rows) for name, column in logs["rewards"].items()})
        table.update({name: _newest(logs["extra"][name], rows) for name in sorted(extra_columns)})
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{mode}_{step:06d}_{index:02d}.parquet"
        partial = path.with_suffix(".partial")
        with _no_progress_bars():  # a bar a batch would bury the trainer's own
            Dataset.from_dict(table).to_parquet(str(partial))
        os.replace(partial, path)  # a killed run leaves whole files only
        return path

    def _drop_abandoned(self, mode: str, step: int) -> None:
        """A resumed run removes the rollouts that lie past the step that it resumes from."""
        for path in self.folder.glob(f"{mode}_*.parquet") if step > 0 else ():
            if int(path.stem.split("_")[1]) >= step:
                path.unlink()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def _newest(column: Any, rows: int) -> list:
    return list(islice(column, max(len(column) - rows, 0), None))
