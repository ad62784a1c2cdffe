"""The HTML report in tests: texts that attack a page, runs that hold them, and the data of a page."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path

from tests.support.rollouts import row, write_batch, write_run
from trl_mle.experience import STORE_FILE, ExperienceStore
from trl_mle.outcomes import Column, RunColumn, to_row
from trl_mle.types import Execution, Grade, InstrumentedProgram, Outcome, Program

ALARM = "document.title='broken'"
HOSTILE = (
    f"</script><script>{ALARM}</script>",
    f"<img src=x onerror={ALARM}>",
    f'"><svg onload="{ALARM}">',
    f"<!--<script>{ALARM}//-->",
    f"</textarea></pre></style><style>*{{display:none}}</style><iframe srcdoc='<script>{ALARM}</script>'>",
    f"javascript:{ALARM}",
    "{{ 7 * 7 }}{% raw %}</html>",
    "\u2028\u2029\0\ufeff]]>&lt;script&gt;",
    f"${{{ALARM}}}`+{ALARM}+`",
)
"""Texts that would end a script, open an element or run as code if a page took them for markup."""
ALL_HOSTILE = "\n".join(HOSTILE)


def hostile_run(folder: Path, place: str) -> Path:
    """A run whose texts at `place` attack the page: `run name`, `rollouts`, `log`, `settings` or `evaluation`."""
    name = 'r"><img src=x onerror=alert(1)>' if place == "run name" else "run"
    run = write_run(folder / name)
    if place == "rollouts":
        for step, text in enumerate((*HOSTILE, ALL_HOSTILE)):
            write_batch(run, 10 + step, [_hostile_row(text, kind) for kind in ("valid", "failure", "fault", text)])
    if place == "log":
        entries = [{"step": step, text: 0.5, "entropy": text} for text in HOSTILE for step in (1, 2)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    if place == "settings":
        (run / "config.yaml").write_text(
            json.dumps({"training": {text: text for text in HOSTILE}, ALL_HOSTILE: {"a": 1}})
        )
    if place == "evaluation":
        entry = {"policy": ALL_HOSTILE, "valid_share": {"value": ALL_HOSTILE, "low": None, "high": None}}
        curve = dict.fromkeys(HOSTILE, 1.0) | {"2": ALL_HOSTILE}
        entries = [entry | {"task_id": ALL_HOSTILE, "best_at": curve, "best": {"medal": ALL_HOSTILE}}]
        content = {"entries": entries, "settings": {text: text for text in HOSTILE}, "overall": HOSTILE}
        (run / "evaluation.json").write_text(json.dumps(content))
    return run


def _hostile_row(text: str, kind: str) -> dict:
    clean = text.replace("\0", "")
    names = (Column.PLAN, Column.STDOUT, Column.STDERR, Column.FAULT, Column.EXTRACTION_REASON, Column.INVALID_REASON)
    texts = {str(column): clean for column in (*names, Column.INSTRUMENTED_PROGRAM, Column.SUBMISSION_REASON)}
    turns = json.dumps([{"tool": clean, "code": clean, clean: clean}])
    return row(kind, 0.5, 1.0, 1.0, program=clean, task_id=clean) | texts | {"turns": turns, "completion": clean}


def page_data(page: str) -> dict:
    """The data of a page, as its script reads them."""
    return _unpacked(re.search(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]+)</script>', page)[1])


def page_texts(page: str) -> list[str]:
    """Texts of a page by number."""
    blocks = re.findall(r'<script type="text/plain" class="block">([A-Za-z0-9+/=]+)</script>', page)
    return [text for block in blocks for text in _unpacked(block)]


def _unpacked(text: str):
    return json.loads(gzip.decompress(base64.b64decode(text)))


def lineage_run(folder: Path) -> Path:
    """A run of three steps with a store: a solution, a child that is better, and a copy of that child that fails.

    Programs are long enough for a difference to leave lines out, and one of them attacks the page.
    """
    folder.mkdir(parents=True)
    filler = [f"x_{number} = {number}" for number in range(20)]
    codes = ["\n".join([*filler, "model = Ridge()"]), "\n".join([*filler, "model = GradientBoosting()"])]
    with ExperienceStore(folder / STORE_FILE) as store:
        parent = None
        for step, (code, score) in enumerate(
            zip([*codes, codes[1] + "\nraise ValueError"], (0.25, 0.75, None), strict=True)
        ):
            outcome = _outcome(code, score)
            columns = {RunColumn.PROMPT_KIND: "scratch" if parent is None else "improve", RunColumn.PARENT: parent}
            rows = [to_row(outcome) | {str(name): value for name, value in columns.items()} | {RunColumn.DEPTH: step}]
            write_batch(folder, step, rows)
            store.add(outcome, prompt_kind="scratch" if parent is None else "improve", parent=parent, step=step)
            parent = store.position if score is not None else parent
    return folder


def _outcome(code: str, score: float | None) -> Outcome:
    execution = Execution(
        status="ok" if score is not None else "error",
        exit_code=int(score is None),
        wall_s=1.5,
        cpu_s=1.0,
        max_rss_bytes=10**8,
        stdout="printed by the program",
        stderr="" if score is not None else f"Traceback\nValueError: {HOSTILE[0]}\n",
    )
    return Outcome(
        task_id="toy",
        kind="valid" if score is not None else "failure",
        reward=score if score is not None else -10.0,
        duration_s=1.5,
        reward_parts={"score": score} if score is not None else {"failure": -10.0},
        program=Program(f"The plan. {HOSTILE[1]}", code),
        instrumented=InstrumentedProgram(
            code + "\nprint('[[trl_mle:aaaa:trained_model]]')", Program("", code), "n" * 16
        ),
        execution=execution,
        public=None if score is None else Grade(1 - score, True),
        private=None if score is None else Grade(1 - score, True),
    )
