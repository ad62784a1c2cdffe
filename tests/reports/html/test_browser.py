"""The HTML report in a real browser: nothing of a run acts, and search, filters, order, code, changes and turns work.

It needs the package `playwright` (extra `browser`) and a Chromium of the system. Playwright's own download is not needed.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.support.html_pages import HOSTILE, hostile_run, lineage_run
from tests.support.rollouts import row, write_batch
from trl_mle.outcomes import Column
from trl_mle.reports.html import write_html

sync_api = pytest.importorskip("playwright.sync_api", reason="the browser test needs `pip install 'trl_mle[browser]'`")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=WIDTHS)
def open_page(browser, request):
    """Opens a file; afterwards, nothing may have been requested beside it, and no script may have failed."""
    pages, wrong = [], []

    def open_file(path: Path, fragment: str = ""):
        page = browser.new_page(viewport={"width": request.param, "height": 844})
        page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(path.as_uri()) else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.goto(path.as_uri() + fragment)
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        pages.append(page)
        return page

    yield open_file
    for page in pages:
        assert page.evaluate("document.documentElement.scrollWidth") <= request.param, (
            "nothing is wider than the screen"
        )
        assert "trl_mle report" in page.title()
        page.close()
    assert not wrong


def rows_of(page) -> list[str]:
    return [element.get_attribute("data-row") for element in page.query_selector_all("#table tbody tr")]


def open_tab(page, name: str) -> str:
    page.click(f"dialog [role=tab]:has-text('{name}')")
    return page.inner_text("dialog [role=tabpanel]")


def test_code_changes_output_and_marks_of_a_rollout(open_page, tmp_path):
    page = open_page(write_html([lineage_run(tmp_path / "run")], tmp_path / "report.html"))
    assert rows_of(page) == ["2", "1", "0"]
    page.click("#table tbody tr[data-row='1']")
    page.wait_for_selector("dialog[open] pre.code")
    shown = page.inner_text("dialog")
    assert "Rollout #1" in shown and "reward\n0.75" in shown and HOSTILE[1] in shown
    assert "model = GradientBoosting()" in shown
    assert (
        page.query_selector_all("dialog pre .keyword") == [] and len(page.query_selector_all("dialog pre .line")) == 21
    )
    changes = open_tab(page, "Changes")
    assert [line.inner_text() for line in page.query_selector_all("pre.diff .removed")] == ["model = Ridge()"]
    assert [line.inner_text() for line in page.query_selector_all("pre.diff .added")] == ["model = GradientBoosting()"]
    assert "17 equal lines" in changes
    assert "printed by the program" in open_tab(page, "Output")
    open_tab(page, "Marks")
    assert "[[trl_mle:…:trained_model]]" in page.inner_text("dialog pre .mark")
    page.click("dialog .detail-head button >> nth=1")
    page.wait_for_selector("dialog h3:has-text('Rollout #0')")
    page.keyboard.press("Escape")
    assert page.query_selector("dialog[open]") is None


def test_lineage_shows_the_changes_of_each_step(open_page, tmp_path):
    page = open_page(write_html([lineage_run(tmp_path / "run")], tmp_path / "report.html"))
    steps = page.query_selector_all("#lineages .step")
    assert [re.sub(r"\s+", " ", step.inner_text())[:40] for step in steps] == [
        "valid step 0, prompt: scratch #0 public ",
        "valid step 1, prompt: improve #1 public ",
    ]
    steps[1].query_selector("summary").click()
    # The event of an opened element comes later.
    assert steps[1].wait_for_selector(".added").inner_text() == "model = GradientBoosting()"
    steps[0].query_selector("summary").click()
    assert "model = Ridge()" in steps[0].wait_for_selector("pre").inner_text()


def test_search_filters_and_order(open_page, tmp_path):
    for step in range(30):
        good = row("valid", step / 100, step, step, program=f"needle_{step} = 1")
        bad = row("failure", -10.0, program="pass") | {Column.STATUS: "error", Column.STDERR: f"KeyError: {step}\n"}
        write_batch(tmp_path / "run", step, [good, bad, row("fault", None, program=None, seconds=None)])
    page = open_page(write_html([tmp_path / "run"], tmp_path / "report.html"))
    assert page.inner_text("#count") == "90 of 90 rollouts." and len(rows_of(page)) == 50
    page.click("#next")
    assert page.inner_text("#page") == "Page 2 of 2" and len(rows_of(page)) == 40
    page.fill("[name=words]", "NEEDLE_2")
    page.wait_for_selector("#count[data-words=needle_2]")
    assert page.inner_text("#count") == "11 of 90 rollouts."
    page.select_option("[name=order]", "reward|up")
    assert rows_of(page)[:2] == ["6", "60"]
    # A click right after typing, when the field loses the focus.
    page.fill("[name=words]", "needle_29")
    page.wait_for_selector("#count[data-words=needle_29]")
    page.click("#table tbody tr")
    page.wait_for_selector("dialog[open] pre.code")
    page.click("dialog button:has-text('Close')")
    page.fill("[name=words]", "")
    page.wait_for_selector("#count[data-words='']")
    page.select_option("[name=kind]", "failure")
    assert page.inner_text("#count") == "30 of 90 rollouts."
    page.select_option("[name=class]", label="error: KeyError")
    assert len(rows_of(page)) == 30
    page.select_option("[name=kind]", "fault")
    assert rows_of(page) == []
    page.select_option("[name=class]", "")
    page.select_option("[name=kind]", "")
    page.click("thead button:has-text('reward')")
    first = page.inner_text("#table tbody tr:first-child")
    assert "0.29" in first and page.get_attribute("thead th[aria-sort]", "aria-sort") == "descending"


def test_turns_and_a_linked_rollout(open_page, tmp_path):
    turns = [
        {"tool": "run_program", "code": "x = 1\nfor y in z: pass", "observation": "score 0.5", "seconds": 1.25},
        {"tool": "submit", "code": None, "observation": HOSTILE[0], "refused": None},
    ]
    rows = [row("valid", 0.5), row("valid", 0.5) | {"turns": json.dumps(turns)}]
    write_batch(tmp_path / "run", 0, rows)
    page = open_page(write_html([tmp_path / "run"], tmp_path / "report.html"), "#rollout-1")
    page.wait_for_selector("dialog[open]")
    assert "Rollout #1" in page.inner_text("dialog")
    open_tab(page, "Turns")
    summaries = page.query_selector_all("details.turn summary")
    assert [summary.inner_text() for summary in summaries] == ["Turn 1: run_program", "Turn 2: submit"]
    assert page.inner_text("details.turn .keyword >> nth=0") == "for"
    summaries[1].click()
    assert HOSTILE[0] in page.inner_text("details.turn >> nth=1")


@pytest.mark.parametrize("place", ["run name", "rollouts", "log", "settings", "evaluation"])
def test_hostile_text_does_nothing(open_page, tmp_path, place):
    page = open_page(write_html([hostile_run(tmp_path, place)], tmp_path / "report.html"))
    if place == "log":
        for name in HOSTILE[:3]:
            page.select_option("#metric", name)
            assert page.query_selector("#metric-charts canvas")
    if place == "rollouts":
        for text in HOSTILE[:5]:
            page.fill("[name=words]", text)
            page.wait_for_selector(f"#count[data-words={json.dumps(text.lower())}]")
            page.click("#table tbody tr")
            page.wait_for_selector("dialog[open] pre.code")
            assert text in page.inner_text("dialog")
            for tab in page.query_selector_all("dialog [role=tab]"):
                tab.click()
            page.click("dialog button:has-text('Close')")
    assert page.query_selector_all("img, iframe, object, embed, svg, form[action], a[href^=javascript]") == []
    assert page.query_selector_all("[onerror], [onload], [onclick], [srcdoc]") == []


def test_charts_are_drawn_for_two_runs(open_page, tmp_path):
    runs = [lineage_run(tmp_path / name) for name in ("one", "two")]
    page = open_page(write_html(runs, tmp_path / "report.html"))
    for section in ("curve-charts", "milestone-charts", "duration-charts", "diversity-charts"):
        canvases = page.query_selector_all(f"#{section} canvas")
        assert canvases
        for canvas in canvases:
            assert canvas.evaluate(
                "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(value => value > 0)"
            )
    page.select_option("[name=run]", label="two")
    assert rows_of(page) == ["5", "4", "3"]
