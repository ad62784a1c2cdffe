"""The HTML file: data, scripts and style in one page that nothing in the data can change."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from trl_mle._version import __version__
from trl_mle.errors import ConfigError
from trl_mle.evaluation.summary import Stretch, summarise
from trl_mle.outcomes import Column, RunColumn
from trl_mle.reports.html.curves import curves, logged_curves, rounded
from trl_mle.reports.html.durations import duration_quarters
from trl_mle.reports.html.evaluations import evaluations
from trl_mle.reports.html.failures import failures
from trl_mle.reports.html.lineage import Lineages, lineages
from trl_mle.reports.html.loading import LoadedRun, load_runs
from trl_mle.reports.html.rollout_table import MAX_ROWS, RolloutTable
from trl_mle.reports.html.settings_table import settings_rows
from trl_mle.reports.html.texts import TextStore, packed
from trl_mle.types import MILESTONES

MEGABYTE = 1_000_000
DEFAULT_TEXT_MEGABYTES = 24.0
"""Room for programs and output. A phone opens a file of this size within seconds, and no mail server takes a larger one."""
SCRIPTS = ("vendor/chart.umd.min.js", "vendor/diff.min.js")
"""Libraries, see `vendor/README.md`."""
OWN_SCRIPTS = ("dom.js", "data.js", "charts.js", "panels.js", "code.js", "detail.js", "table.js", "main.js")
LICENCES = ("vendor/chart.js-LICENSE.md", "vendor/jsdiff-LICENSE.txt")
_ROWS_AT_ONCE = 500


def write_html(
    folders: Sequence[Path],
    path: Path,
    *,
    evaluation_folders: Sequence[Path] = (),
    text_megabytes: float = DEFAULT_TEXT_MEGABYTES,
) -> Path:
    """Write the report of one run or several into one HTML file, whole or not at all, and return its path.

    Args:
        folders (sequence of `Path`):
            The `output_dir` of each run, finished or going on.
        path (`Path`):
            The file to write.
        evaluation_folders (sequence of `Path`, *optional*):
            Folders of evaluations to show besides those in the folders of the runs.
        text_megabytes (`float`, *optional*, defaults to `24.0`):
            Room in the file for programs and their output, in megabytes. Beyond it, the oldest rollouts have none.

    Raises:
        ConfigError: a folder holds no rollouts that can be read, or is given twice, one of `evaluation_folders` holds no
            evaluation, or `path` is a folder.
    """
    if not path.name or path.is_dir():
        raise ConfigError(f"{path} is a folder. Name the HTML file to write, such as {path / 'report.html'}.")
    shown = evaluations(folders, evaluation_folders)
    content = render(load_runs(folders), text_megabytes, shown)
    # A name of its own: the end of training and a user may write the same report at the same time.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # Surrogates, which escapes in JSON and YAML may hold, have no UTF-8.
        partial.write_text(content, encoding="utf-8", errors="replace", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render(
    runs: Sequence[LoadedRun],
    text_megabytes: float = DEFAULT_TEXT_MEGABYTES,
    shown_evaluations: Sequence[dict[str, Any]] = (),
) -> str:
    """The page as text."""
    texts = TextStore(text_megabytes * MEGABYTE)
    table = RolloutTable(texts)
    described = _described(runs, table)
    data = {
        "milestones": [str(milestone) for milestone in MILESTONES],
        "runs": described,
        "table": table.columns,
        "classes": list(table.classes),
        "left_out": table.left_out,
        "starts": texts.starts,
    }
    environment = Environment(
        loader=PackageLoader("trl_mle.reports.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "number": _number}
    style, scripts = _asset("templates/style.css"), [*map(_asset, SCRIPTS), own_script()]
    return environment.get_template("report.html.j2").render(
        title=", ".join(run.name for run in runs),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        policy=_content_policy(scripts, style),
        # The package's own files. Everything else is escaped, or packed as base64.
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        licences=[_asset(name) for name in LICENCES],
        data=packed(data),
        blocks=texts.blocks,
        overviews=[run["overview"] for run in described],
        evaluations=shown_evaluations,
        settings=settings_rows(runs),
        names=[run.name for run in runs],
    )


def _described(runs: Sequence[LoadedRun], table: RolloutTable) -> list[dict[str, Any]]:
    """What the page says of each run; fills `table`."""
    found = [(run, lineages(run), failures(run)) for run in runs]
    for number, (run, lineage, _) in enumerate(found):
        table.add(number, run, lineage, MAX_ROWS // len(runs))
    _add_texts(table, found)
    described = []
    for number, (run, lineage, classes) in enumerate(found):
        for entry in (entry for best in lineage.best for entry in best["chain"]):
            entry["row"] = table.row_of(number, entry["row"])
        for of_class in classes:
            examples = (table.row_of(number, row) for row in of_class["examples"])
            of_class["examples"] = [row for row in examples if row is not None]
        described.append(
            {
                "name": run.name,
                "tasks": run.tasks,
                "overview": _overview(run, lineage),
                "curves": curves(run),
                "logged": logged_curves(run),
                "quarters": duration_quarters(run),
                "lineage": lineage.best,
                "lineage_note": lineage.note,
                "failures": classes,
            }
        )
    return described


def _add_texts(table: RolloutTable, found: Sequence[tuple[LoadedRun, Lineages, list[dict[str, Any]]]]) -> None:
    """Texts that the page refers to come first, then those of the newest rollouts of every run in turn."""
    for number, (run, lineage, classes) in enumerate(found):
        chain = [entry["row"] for best in lineage.best for entry in best["chain"] if entry["row"] is not None]
        examples = [row for of_class in classes for row in of_class["examples"]]
        table.add_texts(number, run, [*chain, *examples])
    longest = max(len(run.rollouts) for run, _, _ in found)
    for start in range(0, longest, _ROWS_AT_ONCE):
        for number, (run, _, _) in enumerate(found):
            end = len(run.rollouts) - start
            table.add_texts(number, run, range(end - 1, max(end - _ROWS_AT_ONCE, 0) - 1, -1))
    table.texts.flush()


def _overview(run: LoadedRun, lineage: Lineages) -> dict[str, Any]:
    """Numbers of a run for the cards at the top of the page."""
    rollouts = run.numbers
    summary = summarise(rollouts, {})
    training = run.settings.get("training")
    planned = training.get("max_steps") if isinstance(training, dict) else None
    reached = max((entry["step"] for entry in run.log if isinstance(entry.get("step"), int)), default=None)
    valid = rollouts[rollouts[Column.KIND] == "valid"]
    return {
        "name": run.name,
        "folder": str(run.folder),
        "tasks": run.tasks,
        "rollouts": summary.rollouts,
        "valid": len(valid),
        "faults": summary.faults,
        "lost": summary.lost,
        "batches": int(rollouts[RunColumn.BATCH].max()) + 1,
        "step": int(rollouts[RunColumn.STEP].max()) if reached is None else reached,
        "planned": planned if isinstance(planned, int) and planned > 0 else None,
        "first": _stretch(summary.first),
        "last": _stretch(summary.last),
        "best": [{"task": best["task"], **best["chain"][-1]} for best in lineage.best if not best["improved"]],
        "improvement": summary.improvement.sentence() if summary.improvement else "",
    }


def _stretch(stretch: Stretch) -> dict[str, float | None]:
    return {name: rounded(value) for name, value in asdict(stretch).items() if not isinstance(value, dict)}


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _content_policy(scripts: Sequence[str], style: str) -> str:
    """A Content Security Policy under which only the page's own scripts and style count, and nothing is loaded."""
    hashes = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def own_script() -> str:
    """The page's own JavaScript: the files of `templates/js` in one function, so that no name of theirs is global."""
    parts = "\n".join(_asset(f"templates/js/{name}") for name in OWN_SCRIPTS)
    return f'(function () {{\n"use strict";\n{parts}\n}})();'


@cache
def _asset(name: str) -> str:
    return resources.files("trl_mle.reports.html").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
