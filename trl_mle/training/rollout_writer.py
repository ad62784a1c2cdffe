"""Every rollout on disk, as Parquet files that `read_rollouts` and pandas read back."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow

from trl_mle.training.rollout_schema import RolloutSchema, as_column, write_table


class RolloutWriter:
    """Writes each generation batch to `folder/<mode>_<step>_<k>.parquet`, the `k`-th batch generated at that step.

    A resumed run that repeats a step writes files of the same names, so no rollout is counted twice.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._last: tuple[str, int, int] | None = None
        self._cleaned: set[str] = set()
        self._schema = RolloutSchema(folder)

    def write(
        self, logs: Mapping[str, Any], *, rows: int, step: int, mode: str, extra_columns: Collection[str]
    ) -> Path:
        """Write the newest `rows` of TRL's log of completions, `GRPOTrainer._logs`. Returns the path of the file.

        Of the columns that reward functions log, only `extra_columns` are written. They must belong to these rows.
        """
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
        return self._to_parquet(table, self.folder / f"{mode}_{step:06d}_{index:02d}.parquet")

    def write_records(self, records: Sequence[Mapping[str, Any]], *, step: int, kind: str = "lost") -> Path:
        """Write records to `<kind>_<step>_<k>.parquet`. The kind `lost` is for completions that are never trained on."""
        self._drop_abandoned(kind, step)
        names = dict.fromkeys(name for record in records for name in record)
        table = {name: [record.get(name) for record in records] for name in names}
        index = len(list(self.folder.glob(f"{kind}_{step:06d}_*.parquet")))
        return self._to_parquet(table, self.folder / f"{kind}_{step:06d}_{index:02d}.parquet")

    def _to_parquet(self, table: dict[str, list], path: Path) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        columns = pyarrow.table({name: as_column(values) for name, values in table.items()})
        write_table(
            self._schema.fit(columns), path
        )  # whole or not at all, so that a killed run leaves whole files only
        return path

    def _drop_abandoned(self, kind: str, step: int) -> None:
        """Remove files past `step` before the first file of a kind is written: a resumed run writes them anew."""
        # Without overlap a run has no lost completions; what an earlier run left behind is removed all the same.
        kinds = {kind, "lost"} if kind == "train" else {kind}
        for kind in kinds - self._cleaned:
            for path in self.folder.glob(f"{kind}_*.parquet") if step > 0 else ():
                if int(path.stem.split("_")[1]) >= step:
                    path.unlink()
                    self._schema.forget()
        self._cleaned |= kinds


def _newest(column: Any, rows: int) -> list:
    return list(islice(column, max(len(column) - rows, 0), None))
