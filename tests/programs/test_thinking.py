"""Drafts in thinking sections are never taken for the program, whatever marks the section; a program may speak of such marks."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_mle.errors import ExtractionError
from trl_mle.programs import extract_program, thinking

SECTIONS = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<reasoning>", "</reasoning>"), ("[THINK]", "[/THINK]"),
    ("<THINK>", "</THINK>"), ('<thinking depth="3">', "</thinking>"), ("<scratchpad>", "</scratchpad>"),
    ("<reflection>", "</reflection>"), ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<seed:think>", "</seed:think>"),
    ("\u25c1think\u25b7", "\u25c1/think\u25b7"), ("<antThinking>", "</antThinking>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"), ("<|think|>", "<|/think|>"), ("<longcat_think>", "</longcat_think>"),
    ("<inner_thoughts>", "</inner_thoughts>"), ("<chain-of-thought>", "</chain-of-thought>"), ("[REASONING]", "[/REASONING]"),
    ("< think >", "</ think >"), ("<rationale>", "</rationale>"), ("<unused94>thought", "<unused95>"),
    ("<|channel>thought", "<channel|>"), ("<\uff5cthink\uff5c>", "<\uff5c/think\uff5c>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]  # fmt: skip
MUST_BE_CLOSED = {"<reflection>", "<rationale>", "<longcat_think>", "<inner_thoughts>", "<chain-of-thought>"}
"""A heading or a name of a type may look like these, so they open a section only if they are closed again."""
DRAFT = "```python\nprint('draft')\n```"
ANSWER = "Plan.\n```python\nprint('answer')\n```"


@pytest.mark.parametrize(("opening", "closing"), SECTIONS)
def test_a_draft_is_never_the_program(opening, closing):
    endless = not opening.startswith("[R") and opening not in MUST_BE_CLOSED
    for text in (
        f"{opening}\nFirst try:\n{DRAFT}\n{closing}\nSorry, no answer.",
        *([f"{opening}\n{DRAFT}\n"] if endless else []),
        f"{DRAFT}\n{closing}\nNo answer.",
        f"So:\n{opening}\n{DRAFT}\n{closing}\nNo answer.",
        f"Sure. {opening}\n{DRAFT}\n{closing}\nNo answer.",
        f"{opening}a{closing}{opening}\n{DRAFT}\n{closing}",
        f"{opening}\n```python\nprint('unfinished'\n{closing}\n",
    ):
        with pytest.raises(ExtractionError):
            extract_program(text)
    for text in (
        f"{opening}\n{DRAFT}\n{closing}\n{ANSWER}",
        f"{opening}\n{DRAFT}\n{closing}{ANSWER}",
        f"{DRAFT}\n{closing}\n{ANSWER}",
        f"{ANSWER}\n{opening}\n{DRAFT}\n{closing}\n",
        f"{opening}{closing}\n\n{opening}\n{DRAFT}{closing}\n{ANSWER}",
    ):
        program = extract_program(text)
        assert program.code == "print('answer')\n"
        assert "draft" not in program.plan


@pytest.mark.parametrize(("opening", "closing"), SECTIONS)
def test_a_program_may_speak_of_the_marks(opening, closing):
    code = f'text = "{opening} x {closing}"\n# {opening}\nprint(text.replace("{closing}", ""))\n'
    assert extract_program(f"Plan.\n```python\n{code}```\n").code == code
    assert extract_program(f"I do not use `{opening}` here.\n```python\n{code}```\n").code == code


@pytest.mark.parametrize("indent", ["", " ", "  ", "    ", "\t", "- ", "1. ", "  * "])
@pytest.mark.parametrize("before", ["", "\n\n", "Plan.\n", "<think>x</think>\n"])
@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_the_first_line_keeps_its_indentation(indent, before, fence):
    width = " " * len(indent.expandtabs(4)) if indent.strip() else indent
    lines = [f"{fence}python", "import os", "if os:", "    print(1)", fence]
    text = before + "\n".join((indent if n == 0 else width) + line for n, line in enumerate(lines))
    compile(extract_program(text).code, "program", "exec")


@pytest.mark.parametrize(
    "extra",
    ["# python main.py\n", "", "\n\n", '"""Only a docstring."""\n', "# a\n\n# b\n", "...\n", "pip install pandas\n",
     "!pip install pandas\n%matplotlib inline\n", "$ python main.py\n", "python main.py\n", "'accuracy: 0.9'\n"],
)  # fmt: skip
def test_a_block_without_a_statement_is_no_program(extra):
    program = "import os\nprint(os.getcwd())\n"
    assert extract_program(f"Plan.\n```python\n{program}```\nRun it:\n```python\n{extra}```\n").code == program
    with pytest.raises(ExtractionError) as caught:
        extract_program(f"Plan.\n```python\n{extra}```\n")
    assert caught.value.reason == "empty_code_block"


def test_a_program_with_a_syntax_error_still_runs_and_fails():
    assert extract_program("```python\nprint(1)\n```\nand\n```python\nprint(2\n```").code == "print(2\n"


PIECES = [mark for pair in SECTIONS for mark in pair] + [
    "```",
    "```python",
    "\n",
    "x = 1",
    "'",
    '"',
    "`",
    " ",
    "~~~",
    "\\",
    "a",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40), st.integers(1, 30))
def test_any_mixture_gives_a_program_or_a_reason(pieces, times):
    with contextlib.suppress(ExtractionError):
        extract_program("".join(pieces) * times)


PROSE = [
    *(
        f"{heading}\nI fit a model.\n\n[Code]\n{ANSWER}"
        for heading in (
            "[Reasoning]",
            "[Analysis]",
            "[Draft]",
            "[Thoughts]",
            "[Thinking]",
            "[Rationale]",
            "[REASONING]",
            "[Thinking] I will fit a line.",
            "[Thinking](http://x) about it",
            "<ThinkingModel>",
            "<Reasoning.Type>",
            "<internal>",
            "<rationale>",
        )
    ),
    f"Plan: fit.\n[Reasoning]: quick baseline.\n{ANSWER}",
    f"<think>\nfit a line\n# done </think>\n{ANSWER}",
    f"<think>we use kernel 'rbf, ok</think>Here's it.\n{ANSWER}",
    f"I predict <reason> from the text.\n{ANSWER}\n",
    f"The type is List<thought>; fine.\n{ANSWER}\n",
    f"Step <analysis>: look.\n{ANSWER}\n",
    f"The columns are <draft>, <final>.\n{ANSWER}\n",
    f"<analysis> of the columns:\n{ANSWER}\n",
    f"{ANSWER}\nI removed the </reasoning> tags.\n",
    f"{ANSWER}\nDone. <thinking> ok\n",
    f"Done thinking.</think>\n{ANSWER}",
    f"Then a <think>b</think> c\n</think>\n{ANSWER}",
    f"analysis of the data first\n{ANSWER}",
    f"analysisWe try\n{DRAFT}\nassistantfinal{ANSWER}",
    f"<think>\n<think>a</think>\n{DRAFT}\n</think>\n{ANSWER}",
]


@pytest.mark.parametrize("text", PROSE)
def test_prose_may_speak_of_sections(text):
    assert extract_program(text).code == "print('answer')\n"


@pytest.mark.parametrize(
    "line",
    [
        "# drop everything up to </think> in the text",
        'html = """\n<p></analysis>\n"""',
        'html = """\n</think>\n"""',
        "y = re.sub('.*</think> *', '', t)",
        "x = re.split(r'</?reason>', t)",
        'parts = [text.split("</think>")[-1] for text in texts]',
        "frame: List[thought] = []",
        "# <think>",
    ],
)
def test_a_program_may_hold_a_closing_tag(line):
    code = f"import re\n{line}\nprint(1)\n"
    assert extract_program(f"Plan.\n```python\n{code}```\n").code == code
    assert extract_program(f"<think>x</think>\n```python\n{code}```\nThat is all.\n").code == code


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\n<think>a</think>\n{DRAFT}\n</think>\nNo answer.",
        f"analysisWe try\n{DRAFT}\nassistantfinalNo answer.",
        f"<|channel|>analysis<|message|>x\n{DRAFT}\n<|end|>",
    ],
)
def test_nested_and_half_decoded_sections_hide_their_drafts(text):
    with pytest.raises(ExtractionError):
        extract_program(text)


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "<reason> ", "<think></think>", '"</think>', "<|", "[think]\n", "# <think>"]
)
def test_many_tags_take_linear_steps(piece, monkeypatch):
    counted = []
    tag = thinking._tag
    monkeypatch.setattr(thinking, "_tag", lambda *arguments: counted.append(1) or tag(*arguments))
    with contextlib.suppress(ExtractionError):
        extract_program(piece * (100_000 // len(piece)))
    assert len(counted) <= 4 * 100_000 / len(piece)
