"""The page of a search: what is on it, and that no text of a program can act on it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.support.sandbox_doubles import execution
from tests.support.tasks import toy_task
from trl_mle.solve import Problem
from trl_mle.solve.attempts import Attempt, AttemptLog, Facts
from trl_mle.solve.page import Ending, write_page
from trl_mle.solve.reasons import commonest, reason_of
from trl_mle.types import Grade, Outcome, Program


def outcome(kind="valid", code="x = 1", score=0.5, **changes) -> Outcome:
    grade = Grade(score, True) if kind == "valid" else Grade(None, False, "too few rows")
    parts = {"score": score} if kind == "valid" else {"failure": -10.0}
    values = {
        "program": Program("plan " + code[:50], code),
        "execution": execution(stderr=code),
        "public": grade,
        "reward_parts": parts,
    }
    return Outcome("toy", kind, sum(parts.values()), 1.5, **{**values, **changes})


@pytest.fixture
def log(tmp_path):
    opened = AttemptLog(tmp_path)
    yield opened
    opened.close()


def add(log: AttemptLog, found: Outcome, accepted=False, kind="scratch", parent=None, **facts) -> Attempt:
    id_ = log.add(found, kind, parent)
    log.note(Facts(id_, 60.0 * id_, "model", 100, accepted=accepted, **facts))
    return log.get(id_)


class Tags(HTMLParser):
    """Names of the elements of a page, and the attributes that could load or run something."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()
        self.sources: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def page_of(tmp_path, log, best):
    problem = Problem("toy", toy_task(tmp_path))
    write_page(tmp_path / "page.html", problem, list(log), best, Ending("the budget is over", 120.0, ("model",)))
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_best_its_lineage_and_the_reasons(tmp_path, log):
    parent = add(log, outcome(code="a = 1\nb = 2", score=0.5), accepted=True)
    best = add(log, outcome(code="a = 1\nb = 3", score=0.9), accepted=True, kind="improve", parent=parent.id)
    add(log, outcome("failure", execution=execution("error", stderr="Traceback\nKeyError: 'area'")))
    page = page_of(tmp_path, log, best)
    assert "-b = 2" in page and "+b = 3" in page and "KeyError: &#39;area&#39;" in page
    assert "data:image/svg+xml;base64," in page and "2 minutes" not in page
    assert re.search(r"<b>3</b>attempts", page) and re.search(r"<b>2</b>valid", page)


HOSTILE = (
    "</pre><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ task }}{% for x in y %}",
    "\ud800 \x00 \x1b[2J \u2028",
    "&lt;b&gt; <!-- ]]> --><style>*{display:none}</style><a href='javascript:x'>",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_programs_is_inert(tmp_path, log, text):
    best = add(log, outcome(code=text), accepted=True)
    add(log, outcome("failure", execution=execution("error", stderr=f"ValueError: {text}")))
    add(log, outcome("fault", fault=text, reward_parts={}))
    tags = Tags()
    tags.feed(page_of(tmp_path, log, best))
    assert "a" not in tags.names and "img" in tags.names  # the picture
    assert not tags.names & {"script", "iframe", "object", "embed", "link", "form", "input", "base", "svg"}
    assert all(source.startswith("data:image/svg+xml;base64,") for source in tags.sources)


def test_reasons_are_one_line_each(log):
    attempts = [
        add(log, outcome("failure", execution=None, public=None, program=None, extraction_reason="no_code_block")),
        add(log, outcome("failure", execution=None, public=None, program=None, extraction_reason="x"), truncated=True),
        add(log, outcome("timeout", public=None)),
        add(log, outcome("failure", execution=execution("memory"), public=None)),
        add(
            log,
            outcome("failure", execution=execution("error", stderr="  File\nmodule.SomeError: row 12\n"), public=None),
        ),
        add(log, outcome("failure", execution=execution("error", stderr="module.SomeError: row 13"), public=None)),
        add(log, outcome("failure", execution=execution("error", stderr=""), public=None)),
        add(log, outcome("failure")),
        add(log, outcome("fault", fault="SandboxError: gone")),
        add(log, outcome()),
    ]
    assert [reason_of(attempt) for attempt in attempts] == [
        "no program: no code block",
        "no program: the completion was cut off (raise `--max-tokens`)",
        "out of time",
        "out of memory",
        "module.SomeError: row 12",
        "module.SomeError: row 13",
        "the program ended with an error",
        "invalid submission: too few rows",
        "infrastructure: SandboxError: gone",
        "",
    ]
    assert commonest(attempts)[0] == ("module.SomeError: row 12", 2)
