"""The HTML page: no text of a run is markup or script in it, nothing is loaded, and its data say what the rollouts say."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import random
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.hostile_texts import COMPLETIONS, PIECES, PROGRAMS, random_text
from tests.support.html_pages import HOSTILE, hostile_run, page_data, page_texts
from tests.support.rollouts import row, write_batch, write_run
from trl_mle.errors import ConfigError
from trl_mle.outcomes import Column, RunColumn, metric_column
from trl_mle.reports.html import write_html
from trl_mle.reports.html.loading import LoadedRun, load_runs
from trl_mle.reports.html.page import SCRIPTS, own_script, render

EXTERNAL = re.compile(r"(?:src|href|action|data|poster|srcset)\s*=\s*[\"'](?!#|data:,)", re.IGNORECASE)


class Tags(HTMLParser):
    """Names and attributes of all elements, and the content of the scripts."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def loaded(rows: list[dict], name: str = "run", **columns) -> LoadedRun:
    """A run with these rollouts, without files."""
    frame = pd.DataFrame(rows).assign(**{RunColumn.STEP: 0, RunColumn.BATCH: 0, **columns})
    missing = {column: None for column in (*Column, *RunColumn) if column not in frame}
    return LoadedRun(name, Path("/nowhere"), frame.assign(**missing), {}, [])


def test_the_page_is_one_file_that_loads_nothing(tmp_path):
    page = write_html([write_run(tmp_path / "run")], tmp_path / "report.html").read_text()
    assert not EXTERNAL.search(re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    policy = next(
        tag["content"] for name, tag in Tags(page).tags if tag.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == len(SCRIPTS) + 1
    for script in [*scripts, re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]]:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy


def test_own_script_writes_no_markup():
    forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|setTimeout\(\s*[\"'`]|srcdoc|DOMParser"
    assert not re.search(forbidden, own_script())
    # What a script ends with ends the element that holds it.
    assert "</script" not in own_script().lower() and "<!--" not in own_script()


def test_libraries_are_the_ones_that_are_named():
    vendor = resources.files("trl_mle.reports.html") / "vendor"
    table = (vendor / "README.md").read_text()
    for script in SCRIPTS:
        content = (vendor.parent / script).read_bytes() if hasattr(vendor, "parent") else b""
        assert hashlib.sha256(content).hexdigest() in table
        assert not re.search(rb"\beval\(|new Function|</script|<!--", content), "the policy forbids it"


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> str:
    """The page of a run without hostile texts."""
    folder = tmp_path_factory.mktemp("plain")
    return write_html([write_run(folder / "run")], folder / "plain.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["run name", "rollouts", "log", "settings", "evaluation"])
def test_hostile_text_is_data_wherever_it_stands(tmp_path, plain, place):
    page = write_html([hostile_run(tmp_path, place)], tmp_path / "report.html").read_text(encoding="utf-8")
    allowed = {(name, tuple(sorted(attributes))) for name, attributes in Tags(plain).tags}
    tables = {
        (name, ()) for name in ("tbody", "caption", "thead", "tr", "td", "th", "table", "summary", "details", "h3")
    }
    tables |= {("table", ("class",)), ("th", ("scope",)), ("h3", ()), ("section", ("aria-labelledby", "id"))}
    for name, attributes in Tags(page).tags:
        assert (name, tuple(sorted(attributes))) in allowed | tables, (name, attributes)
    assert page.count("<script") == plain.count("<script")


TEXTS = st.one_of(
    st.text(max_size=200),
    st.sampled_from(HOSTILE),
    st.lists(st.sampled_from([*HOSTILE, *PIECES]), max_size=8).map("".join),
    st.integers(0, 2**32).map(lambda seed: random_text(random.Random(seed))),
    st.sampled_from([make(20) for make in (*PROGRAMS.values(), *COMPLETIONS.values())]),
)


def markup(page: str) -> int:
    """Number of characters that could begin an element, without the packed texts, whose number depends on the rollouts."""
    return re.sub(r'<script type="text/plain" class="block">[A-Za-z0-9+/=]+</script>', "", page).count("<")


def failed_run(program: str, error: str, name: str) -> LoadedRun:
    failed = row("failure", -10.0, program=program, task_id=name) | {Column.STATUS: "error", Column.STDERR: error}
    return loaded([failed | {Column.PLAN: name, "completion": name}], name=name)


MARKUP = markup(render([failed_run("pass", "no", "toy")]))


@settings(max_examples=10, deadline=None)
@given(program=TEXTS, error=TEXTS, name=TEXTS)
def test_any_text_comes_back_as_it_was_and_changes_no_markup(program, error, name):
    # A file has no surrogates.
    program, error, name = (text.encode(errors="replace").decode() for text in (program, error, name))
    page = render([failed_run(program, error, name)])
    assert markup(page) == MARKUP
    table, known = page_data(page)["table"], page_texts(page)
    for column, text in (("program", program), ("stderr", error), ("plan", name)):
        number = table[column][0]
        assert (known[number] if number >= 0 else "") == text
    assert table["task"] == [name]


def test_data_say_what_the_rollouts_say(tmp_path):
    folder = tmp_path / "run"
    valid = row("valid", 0.5, 3.0, 4.0, seconds=2.0, program="print('valid')") | {
        metric_column("validation_score"): 0.25
    }
    failed = row("failure", -9.9, seconds=0.5) | {
        Column.STATUS: "error",
        Column.STDERR: "Traceback\nm.KeyError: 'a'\n",
    }
    fault = row("fault", None, seconds=None, program=None) | {Column.FAULT: "node lost"}
    for step in range(10):
        write_batch(folder, step, [valid, failed | {"advantage": 2.0}, fault, row(None, None, seconds=None)])
    (folder / "metrics.jsonl").write_text(
        '{"step": 1, "entropy": 0.5}\n{"step": 2, "entropy": NaN}\n{"step": 3, "entropy": 0.25}\n{"ste'
    )
    page = render(load_runs([folder]))
    data, texts = page_data(page), page_texts(page)
    table, run = data["table"], data["runs"][0]
    assert table["kind"][:4] == ["valid", "failure", "fault", "lost"] and len(table["kind"]) == 40
    assert (table["reward"][:3], table["seconds"][:2], table["private"][0]) == ([0.5, -9.9, None], [2.0, 0.5], 4.0)
    assert table["own"][:2] == [{"validation_score": 0.25}, 0]
    names = [data["classes"][number] for number in table["class"][1:4]]
    assert names == ["error: KeyError", "infrastructure: node lost", "not scored"]
    assert table["class"][0] == -1 and texts[table["program"][0]] == "print('valid')"
    curves = run["curves"][""]
    assert (
        curves["valid_share"] == [0.5] * 10
        and curves["valid_reward"] == [0.5] * 10
        and curves["kind/fault"] == [0.25] * 10
    )
    assert curves["milestone/imported_libraries"] == [1.0] * 10 and curves["milestone/loaded_data"] == [0.0] * 10
    assert curves["distinct_share"] == [1.0] * 10 and curves["step"] == list(range(10))
    assert run["logged"]["entropy"] == {"x": [1, 3], "y": [0.5, 0.25]}
    whole = next(part for part in run["quarters"] if part["name"] == "whole run")
    assert whole["longest_s"] == [0.5, 0.5, 2.0, 2.0] and whole["valid_share"] == [0, 0, 1, 1]
    assert whole["mass"] == [0.5, 0.5, 0, 0]
    classes = {entry["name"]: entry for entry in run["failures"]}
    assert classes["error: KeyError"]["count"] == 10 and classes["error: KeyError"]["last_share"] == 0.25
    assert table["kind"][classes["error: KeyError"]["examples"][0]] == "failure"


def test_values_that_no_page_can_hold_cost_nothing_else(tmp_path):
    run = write_run(tmp_path / "run")
    lines = [f'{{"step": {step}, "loss": 0.5, "huge": 1{"0" * 400}}}' for step in ("1e999", "NaN", "1", "2")]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    (run / "config.yaml").write_text('training: {seed: "\\ud800"}')
    page = write_html([run], tmp_path / "report.html", text_megabytes=math.inf).read_text(encoding="utf-8")
    assert page_data(page)["runs"][0]["logged"] == {"loss": {"x": [1, 2], "y": [0.5, 0.5]}}
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]


def test_a_folder_is_no_file_to_write(tmp_path):
    run = write_run(tmp_path / "run")
    for path in (run, Path()):
        with pytest.raises(ConfigError, match="is a folder"):
            write_html([run], path)


def test_parts_add_up_to_the_mean_reward():
    rows = [
        row("valid", 0.5) | {Column.REWARD_SCORE: 0.5},
        row("failure", -9.7) | {Column.REWARD_FAILURE: -10.0, Column.REWARD_MILESTONES: 0.3},
    ]
    curves = page_data(render([loaded(rows)]))["runs"][0]["curves"][""]
    parts = [curves[f"part/{name}"][0] for name in ("failure", "milestones", "score")]
    assert sum(parts) == pytest.approx(curves["reward"][0]) == pytest.approx(-4.6)


def test_marks_have_no_keys_and_a_text_stands_once():
    codes = [f"x = 1\nprint('[[trl_mle:{key * 32}:loaded_data]]')" for key in "ab"]
    rows = [row("valid", 0.5) | {Column.INSTRUMENTED_PROGRAM: code} for code in codes]
    page = render([loaded(rows)])
    assert page_data(page)["table"]["instrumented"] == [1, 1] and len(page_texts(page)) == 2
    assert "[[trl_mle:…:loaded_data]]" in page_texts(page)[1]


def test_without_room_the_oldest_texts_are_left_out():
    noise = random.Random(0)
    rows = [row("failure", -10.0, program=noise.randbytes(20_000).hex()) for _ in range(80)]
    run = loaded(rows, **{RunColumn.BATCH: range(80), RunColumn.STEP: range(80)})
    table = page_data(render([run], text_megabytes=1.0))["table"]
    assert table["has_texts"][-1] == 1 and table["has_texts"][0] == 0
    # Once a row has no texts, no older one has; failure examples are the newest ones here.
    assert table["has_texts"] == sorted(table["has_texts"]) and 10 < sum(table["has_texts"]) < 70


def test_long_turns_stay_json():
    turns = json.dumps([{"tool": "run_program", "code": "x = 1\n" * 20_000, "seconds": 1.0}] * 3)
    page = render([loaded([row("valid", 0.5) | {"turns": turns}])])
    shown = page_texts(page)[page_data(page)["table"]["turns"][0]]
    assert len(shown) < 60_000 and [turn["seconds"] for turn in json.loads(shown)] == [1.0] * 3


def test_two_runs_stand_side_by_side(tmp_path):
    one, other = write_run(tmp_path / "a/run"), write_run(tmp_path / "b/run")
    (one / "config.yaml").write_text("training: {seed: 1, beta: 0}\nmodel: 5\n")
    (other / "config.yaml").write_text("training: {seed: 2, beta: 0}\n")
    page = write_html([one, other], tmp_path / "report.html").read_text()
    data = page_data(page)
    assert [run["name"] for run in data["runs"]] == ["a/run", "b/run"]
    assert data["table"]["run"] == [0] * 20 + [1] * 20
    assert "1 of 2 settings differ" in page
    assert gzip.decompress(base64.b64decode(re.search(r'id="data">([^<]+)<', page)[1]))
