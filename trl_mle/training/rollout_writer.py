"""Every rollout on disk, as Parquet files that `read_rollouts` and pandas read back."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

import pyarrow

from trl_mle.training.resume.writing import disk_errors
from trl_mle.training.rollout_schema import FILE_NAME, RolloutSchema, as_column, write_table

logger = logging.getLogger(__name__)


class RolloutWriter:
    """Writes each generation batch to `folder/<mode>_<step>_<k>.parquet`, the `k`-th batch generated at that step.

    The folder holds the rollouts of one run. Those of an earlier run, and those past the step that a run is resumed from, are
    moved to `folder-DATE-TIME`, so that no rollout is counted twice and none is lost. An evaluation without training is a run
    of its own. If the same trainer then trains, the evaluation belongs to that run.

    Raises:
        CheckpointError: while it writes, if the disk is full.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._begins = True
        self._is_training = False
        self._first_step = 0
        self._indices: dict[tuple[str, int], count] = {}
        self._own: set[str] = set()  # names of the files of this run
        self._aside: Path | None = None  # where this writer has moved files to
        self._schema = RolloutSchema(folder)

    def begin(self, step: int = 0) -> None:
        """A run begins, or is resumed at `step`. Files are moved when the next batch is written, since a run may fail before."""
        self._begins = self._is_training = True
        self._first_step = step

    def write(
        self, logs: Mapping[str, Any], *, rows: int, step: int, mode: str, extra_columns: Collection[str]
    ) -> Path:
        """Write the newest `rows` of TRL's log of completions, see [`logged_columns`]. Returns the path of the file."""
        return self.write_columns(
            logged_columns(logs, rows=rows, step=step, extra_columns=extra_columns), step=step, mode=mode
        )

    def write_columns(self, columns: Mapping[str, list], *, step: int, mode: str) -> Path:
        """Write a generation batch, as [`logged_columns`] returns it. Returns the path of the file."""
        return self._to_parquet(columns, self._next_path(mode, step))

    def write_records(self, records: Sequence[Mapping[str, Any]], *, step: int, kind: str = "lost") -> Path:
        """Write records to `<kind>_<step>_<k>.parquet`. The kind `lost` is for completions that are never trained on."""
        path = self._next_path(kind, step)
        names = dict.fromkeys(name for record in records for name in record)
        table = {name: [record.get(name) for record in records] for name in names}
        return self._to_parquet(table, path)

    def _to_parquet(self, table: Mapping[str, list], path: Path) -> Path:
        with disk_errors(path, "file of rollouts"):
            self.folder.mkdir(parents=True, exist_ok=True)
            columns = pyarrow.table({str(name): as_column(values) for name, values in table.items()})
            # Whole or not at all, so that a killed run leaves whole files only.
            write_table(self._schema.fit(columns), path)
        return path

    def _next_path(self, kind: str, step: int) -> Path:
        if self._begins:
            self._begins = False
            self._keep_to_one_run(self._first_step)
            self._indices = {}
        indices = self._indices.setdefault((kind, step), count())
        paths = (self.folder / f"{kind}_{step:06d}_{index:02d}.parquet" for index in indices)
        path = next(path for path in paths if not path.exists())
        self._own.add(path.name)
        return path

    def _keep_to_one_run(self, step: int) -> None:
        """Move files that are not part of the run that begins, or is resumed, at `step`."""
        self._move_aside(path for path in _rollouts(self.folder) if self._belongs_to_another_run(path, step))
        self._own &= {path.name for path in _rollouts(self.folder)}
        # Before a run is resumed, its own trainer may have evaluated, which moved the files of the run as those of another one.
        for path in _rollouts(self._aside) if self._aside is not None and step > 0 else []:
            back = self.folder / path.name
            if not back.exists() and not self._belongs_to_another_run(path, step):
                path.rename(back)
                self._schema.forget()

    def _belongs_to_another_run(self, path: Path, step: int) -> bool:
        """Whether a file is not part of the run that begins, or is resumed, at `step`."""
        match = FILE_NAME.fullmatch(path.name)
        assert match is not None
        if not self._is_training:
            return True
        # An evaluation comes before the checkpoint of its step, and may come before training.
        if match["kind"] == "eval":
            return int(match["step"]) > step or (step == 0 and path.name not in self._own)
        return step == 0 or int(match["step"]) >= step

    def _move_aside(self, files: Iterable[Path]) -> None:
        """Rename `files` into a folder beside this one: the one of earlier moves, unless files there have the same names."""
        files = list(files)
        if not files:
            return
        if self._aside is None or any((self._aside / path.name).exists() for path in files):
            self._aside = path_aside(self.folder)
            self._aside.mkdir()
        for path in files:
            path.rename(self._aside / path.name)
        self._schema.forget()
        logger.warning("%d files of earlier rollouts in %s are now in %s.", len(files), self.folder, self._aside)


def logged_columns(
    logs: Mapping[str, Any], *, rows: int, step: int, extra_columns: Collection[str]
) -> dict[str, list]:
    """The newest `rows` of TRL's log of completions, `GRPOTrainer._logs`, as columns of rollouts.

    Of the columns that reward functions log, only `extra_columns` are kept. They must belong to these rows. One with the name of
    another column, such as `step`, is called `logged_step`, or `logged_logged_step` if there is such a column, too. So are the
    rewards of a function with such a name.
    """
    columns: dict[str, list] = {
        "step": [step] * rows,
        "prompt": _newest(logs["prompt"], rows),
        "completion": _newest(logs["completion"], rows),
        "advantage": _newest(logs["advantages"], rows),
    }
    # The first columns say where a rollout belongs. A column whose name is free keeps it.
    for source, names in ((logs["rewards"], logs["rewards"]), (logs["extra"], sorted(extra_columns, key=str))):
        for name in sorted(names, key=lambda name: str(name) in columns):
            column = str(name)
            while column in columns:
                column = f"logged_{column}"
            columns[column] = _newest(source[name], rows)
    return columns


def _rollouts(folder: Path) -> list[Path]:
    """Files of rollouts. Whatever else a user keeps in the folder is left alone."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if FILE_NAME.fullmatch(path.name))


def path_aside(folder: Path) -> Path:
    """A path beside `folder` that does not exist, named after the time of its last change: `folder-DATE-TIME`."""
    changed = datetime.fromtimestamp(folder.stat().st_mtime).strftime("%Y%m%d-%H%M%S")
    name = f"{folder.name}-{changed}"
    targets = (folder.with_name(name if number == 1 else f"{name}-{number}") for number in count(1))
    return next(target for target in targets if not target.exists())


def _newest(column: Any, rows: int) -> list:
    return list(islice(column, max(len(column) - rows, 0), None))
