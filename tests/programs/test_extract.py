"""extract_program: completions become programs, or give a named reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.errors import ExtractionError
from trl_mle.programs import REASONS, extract_program
from trl_mle.types import Program


def reason(completion) -> str:
    with pytest.raises(ExtractionError) as caught:
        extract_program(completion)
    assert caught.value.detail
    return caught.value.reason


def code(completion) -> str:
    return extract_program(completion).code


def test_plan_and_code():
    program = extract_program("I will use ridge.\n\n```python\nimport numpy as np\n\nx = 1\n```\nThat is all.")
    assert program == Program(plan="I will use ridge.", code="import numpy as np\n\nx = 1\n")


@pytest.mark.parametrize(
    "opening",
    ["```python", "```py", "```Python3", "``` python", "~~~python", "`````python", "```{.python}", "```{python}",
     "```python title=main.py", "```python:main.py", "```PYTHON", "```ipython3", "```python3.11"],
)  # fmt: skip
def test_spellings_of_a_python_fence(opening):
    fence = opening[: len(opening) - len(opening.lstrip("`~"))]
    assert code(f"plan\n{opening}\nx = 1\n{fence}\n") == "x = 1\n"


@pytest.mark.parametrize(
    "end",
    [
        "<|im_end|>",
        " <|eot_id|>",
        "</s>",
        "<end_of_turn>\n",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "</answer>",
        "<|a|> \n<|b|>",
    ],
)
def test_tags_after_a_closing_fence_are_no_code(end):
    assert code(f"Plan.\n```python\nx = 1\n```{end}") == "x = 1\n"


def test_tags_in_the_lines_of_fences():
    assert code("<answer>```python\nif a:\n    x = 1\n```</answer>") == "if a:\n    x = 1\n"
    assert code("```python\nx = 1\n```<|end of|>\n```") == "x = 1\n```<|end of|>\n"
    assert code("```python\ngood = 1\n```<think>\n```python\nbad = 1\n```\n</think>\n") == "good = 1\n"


def test_code_at_the_left_margin_of_a_list_item():
    assert code("1. ```python\nif a:\n  x = 1\n```") == "if a:\n  x = 1\n"
    assert code("1. Do:\n   ```python\n   if a:\n     x = 1\n   ```") == "if a:\n  x = 1\n"


def test_last_complete_block_wins():
    assert code("```python\na = 1\n```\nBetter:\n```python\nb = 2\n```\n```json\n{}\n```") == "b = 2\n"
    assert code("```python\na = 1\n```\nBetter:\n```python\nb = 2\n") == "a = 1\n"
    assert extract_program("p\n```py\na = 1\n```\nq\n```py\nb = 2\n```").plan == "p\n```py\na = 1\n```\nq"


def test_untagged_block_counts_only_without_a_tagged_one():
    assert code("```\nx = f(1)\n```") == "x = f(1)\n"
    assert code("```python\na = 1\n```\n```\nx = f(1)\n```") == "a = 1\n"
    assert reason("```\nthis is prose, not code\n```") == "wrong_language"
    assert reason("```\naccuracy: 0.9\n```") == "wrong_language"


def test_thinking_is_neither_code_nor_plan():
    thought = "<think>\nMaybe\n```python\nbad = 1\n```\n</think>\n"
    assert extract_program(f"{thought}Plan.\n```python\ngood = 1\n```") == Program("Plan.", "good = 1\n")
    assert reason(f"{thought}No code.") == "no_code_block"
    assert reason("<think>\n```python\nbad = 1\n```\n") == "unterminated_thinking"
    opened_by_prompt = "Hm.\n```python\nbad = 1\n```\n</think>\n\nPlan.\n```python\ngood = 1\n```"
    assert extract_program(opened_by_prompt) == Program("Plan.", "good = 1\n")
    unclosed_fence = "<think>\n```python\nbad = 1\n</think>\nPlan.\n```python\ngood = 1\n```"
    assert extract_program(unclosed_fence) == Program("Plan.", "good = 1\n")
    between = "Plan.\n<think>\n```python\nbad = 1\n```\n</think>\nMore.\n```python\ngood = 1\n```"
    assert extract_program(between) == Program("Plan.\nMore.", "good = 1\n")


def test_think_tags_inside_the_program_are_its_own():
    text = 'x = s.split("</think>")[-1]\ny = "<think>"'
    assert code(f"Plan.\n```python\n{text}\n```") == f"{text}\n"


def test_backticks_inside_the_program():
    inline = 's = "```"\nt = """a ``` b"""'
    assert code(f"```python\n{inline}\n```") == f"{inline}\n"
    docstring = 'def f():\n    """Use:\n\n    ```python\n    f()\n    ```\n    """\n    return 1'
    assert code(f"```python\n{docstring}\n```") == f"{docstring}\n"
    at_margin = '"""\n```\nexample\n```\n"""\nx = 1'
    assert code(f"```python\n{at_margin}\n```\nDone.") == f"{at_margin}\n"
    assert code(f"````python\n{at_margin}\n````") == f"{at_margin}\n"


@pytest.mark.parametrize(
    "text",
    [
        "Solution\n~~~~~~~~\n```python\nx = f(1)\n```",
        "```bash\npip install x\n```python\nx = f(1)\n```",
        "```markdown\n# Plan\n```python\nx = f(1)\n```\n```",
        "````md\nPlan.\n```py\nx = f(1)\n```\n````\n",
        "~~~\nPlan.\n~~~python\nx = f(1)\n~~~\n",
        "Here it is: ```python\nx = f(1)\n```",
        "- **Code**: ```Python3\nx = f(1)\n```\nIt works.",
    ],
)
def test_a_python_block_that_another_fence_hides_is_found(text):
    assert code(text) == "x = f(1)\n"


def test_prose_about_fences_hides_no_block():
    assert code("Write it in ```python\n```python\nx = f(1)\n```") == "x = f(1)\n"
    assert reason("Write it in ```python and ```.\nDone") == "no_code_block"
    assert reason("<think>\n```bash\n```python\nbad = 1\n```\n</think>\nNo code.") == "no_code_block"


def test_indentation_and_line_ends():
    assert code("1. Do it:\n   ```python\n   if x:\n       y = 1\n   ```\n") == "if x:\n    y = 1\n"
    assert code("- ```python\n  x = 1\n  ```\n") == "x = 1\n"
    assert code("plan\r\n```python\r\nx = 1\r\ny = 2\r\n```\r\n") == "x = 1\ny = 2\n"


def test_a_syntax_error_is_still_a_program():
    assert code("```python\nx = (\n```") == "x = (\n"


def test_messages():
    answer = "Plan.\n```python\nx = 1\n```"
    first = {"role": "assistant", "content": "```python\nold = 1\n```"}
    assert code([first, {"role": "user", "content": "again"}, {"role": "assistant", "content": answer}]) == "x = 1\n"
    parts = [{"type": "text", "text": "Plan.\n```python\n"}, {"type": "text", "text": "x = 1\n```"}]
    assert code([{"role": "assistant", "content": parts}]) == "x = 1\n"


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("", "empty_completion"),
        (" \n\t", "empty_completion"),
        ([], "empty_completion"),
        ([{"role": "assistant", "content": None}], "empty_completion"),
        ([{"role": "user", "content": "```python\nx = 1\n```"}], "not_text"),
        ([{"role": "assistant", "content": [{"type": "image"}]}], "not_text"),
        ([{"role": "assistant", "content": 7}], "not_text"),
        (["text"], "not_text"),
        (None, "not_text"),
        (3.5, "not_text"),
        (b"```python\nx = 1\n```", "not_text"),
        ("Just words.", "no_code_block"),
        ("import numpy\nx = 1", "no_code_block"),
        ("Inline ```python x = 1``` only", "no_code_block"),
        ("```python\nx = 1", "unterminated_code_block"),
        ("```python", "unterminated_code_block"),
        ("~~~python\nx = 1\n```", "unterminated_code_block"),
        ("````python\nx = 1\n```", "unterminated_code_block"),
        ("```python\n```", "empty_code_block"),
        ("```python\n  \n\n```", "empty_code_block"),
        ("```r\nx <- 1\n```", "wrong_language"),
        ("```pycon\n>>> x\n```", "wrong_language"),
        ("```bash\npip install x\n```", "wrong_language"),
        ("```python\nx = '\x00'\n```", "undecodable"),
        ("```python\nx = '\ud800'\n```", "undecodable"),
        ("x" * 200_001, "too_long"),
    ],
)
def test_reasons(completion, expected):
    assert reason(completion) == expected
    assert expected in REASONS


@pytest.mark.parametrize(
    "unit",
    ["```python\n", "```\n", "`", "~~~\n```\n", "```python\n'''\n```\n", "<think>", "<think>\n", "</think>\n", " ",
     "1. ", "- ```py\n", "```py\n(\n```\n", "\t```\n", '"""\n```\n'],
)  # fmt: skip
def test_adversarial_text_stays_linear(unit, monkeypatch):
    """Number of parsed characters: repeated fences must not make the parser read the text again and again."""
    from trl_mle.programs import fences

    parsed = 0
    original = fences.parse_python

    def counting(source):
        nonlocal parsed
        parsed += len(source)
        return original(source)

    monkeypatch.setattr(fences, "parse_python", counting)
    text = (unit * 200_000)[:200_000]
    try:
        extract_program(text)
    except ExtractionError as error:
        assert error.reason in REASONS
    assert parsed <= 60 * len(text)


FRAGMENTS = st.sampled_from(
    ["```", "```python", "```py", "~~~", "````", "\n", "\r\n", "<think>", "</think>", "x = 1", '"""', "    ", "\t",
     "é", "- ", "`", "import os", "\f", "\ufeff", "\u2028"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=40).map("".join), st.text(st.characters())))
def test_any_text_gives_a_program_or_a_named_reason(text):
    try:
        program = extract_program(text)
    except ExtractionError as error:
        assert error.reason in REASONS
    else:
        assert program.code.strip()
        assert program.code.endswith("\n")
        assert "\r" not in program.code


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(
    st.sampled_from(["role", "content", "type", "text"]), inner | st.just("assistant"))))  # fmt: skip
def test_any_object_gives_a_program_or_a_named_reason(value):
    try:
        extract_program(value)
    except ExtractionError as error:
        assert error.reason in REASONS


LINES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(
    plan=st.lists(LINES.filter(lambda line: not {"`", "~", ">", "]", "\u25b7"} & set(line)), max_size=5),
    code_lines=st.lists(LINES, min_size=1, max_size=8).filter(lambda lines: any(line.strip() for line in lines)),
    tail=st.sampled_from(["", "\nDone.", "\n\nIt scores well.\n"]),
    fence=st.sampled_from(["`", "~"]),
)
def test_plan_and_fenced_code_round_trip(plan, code_lines, tail, fence):
    longest = max((len(line) for line in "\n".join(code_lines).split("\n")), default=0)
    marks = fence * max(3, longest + 1)
    code_lines = ["pass", *code_lines]  # a block of comments and texts alone is no program
    text = "\n".join([*plan, f"{marks}python", *code_lines, marks]) + tail
    program = extract_program(text)
    assert program.code == "\n".join(code_lines) + "\n"
    assert program.plan == "\n".join(plan).strip()
