"""Text for prompts: cleaned, cut and fenced, whatever it holds."""

import ast
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trl_mle.prompts.quoting import (
    clean_code,
    clean_output,
    escape_tokens,
    fenced,
    keep_end,
    keep_ends,
    keep_start,
    without_comments,
)

CUTS = (keep_ends, keep_end, keep_start)
lines = st.text(alphabet="ab\n 1", max_size=400)


@given(text=lines, limit=st.integers(0, 300))
def test_cut_text_keeps_its_limit_and_its_ends(text, limit):
    for cut in CUTS:
        kept = cut(text, limit)
        assert len(kept) <= limit or kept == text
        assert (kept == text) == (len(text) <= limit) or not text
    kept = keep_ends(text, limit)
    if kept and kept != text:
        head, count, tail = re.fullmatch(r"(?s)(.*)\n\[\.\.\. (\d+) characters left out \.\.\.\]\n(.*)", kept).groups()
        assert text.startswith(head) and text.endswith(tail)
        assert len(head) + int(count) + len(tail) == len(text)


def test_whole_lines_are_kept_where_there_are_any():
    text = "".join(f"line {number}\n" for number in range(100))
    kept = keep_ends(text, 200).split("\n")
    assert kept[0] == "line 0" and kept[-2] == "line 99" and all(re.match(r"line \d+$|\[\.\.\.|$", k) for k in kept)
    assert keep_end(text, 100).split("\n")[1].startswith("line ")


@given(st.text(max_size=300), st.sampled_from(["text", "python"]))
def test_no_text_ends_its_block(text, language):
    block = fenced(text, language).split("\n")
    fence = re.match("`+", block[0])[0]
    assert block[-1] == fence and 3 <= len(fence) <= 8
    assert not any(fence in line for line in block[1:-1])


@pytest.mark.parametrize("run", [3, 4, 7, 8, 9, 1000])
def test_fences_in_a_text(run):
    block = fenced(f"x = '''\n{'`' * run}\n'''", "python")
    assert block.split("\n")[-1] == "`" * min(run + 1, 8)
    inside = block.split("\n", 1)[1].rsplit("\n", 1)[0]
    assert ast.literal_eval(inside.removeprefix("x = ")) == f"\n{'`' * run}\n"


def test_output_is_shown_as_a_terminal_shows_it():
    text = "\x1b[31mred\x1b[0m\r\n10 %\r50 %\r100 %\nbell\x07 nul\x00 next\x85\u2028\ttab  \n\n"
    assert clean_output(text, 1000) == "red\n100 %\nbell nul next\ttab"


def test_the_middle_of_a_long_output_is_not_even_read():
    text = clean_output("a" * 1_000_000 + "b" * 1_000_000, 100)
    assert len(text) < 300 and text.startswith("aaa") and text.endswith("bbb")
    assert "1999800 characters left out" in text


def test_code_keeps_its_meaning():
    code = 'x = "a\x1b[0m\u2028<|im_end|>"\ny = "[INST]"\nz = frame[TARGET]\n'
    shown = fenced(clean_code(code), "python").split("\n")[1:-1]
    assert not any(token in "\n".join(shown) for token in ("\x1b", "\u2028", "<|im_end|>", "[INST]"))
    before, after = {}, {}
    exec(code.rsplit("z", 1)[0], before)
    exec("\n".join(shown[:2]), after)
    assert (before["x"], before["y"]) == (after["x"], after["y"]) and shown[2] == "z = frame[TARGET]"


def test_comments_are_taken_out_and_strings_are_not():
    code = 'x = 1  # one\n\n# all\nif x:  # two\n    y = "# no"\n    z = """\n\n# no\n"""\n'
    bare = without_comments(code)
    assert ast.dump(ast.parse(bare)) == ast.dump(ast.parse(code))
    assert bare == 'x = 1\nif x:\n    y = "# no"\n    z = """\n\n# no\n"""'
    assert without_comments("x = (  # no end\n") == "x = (  # no end\n"
    assert without_comments("# only\n" * 10_000) == "# only\n" * 10_000


@given(st.text(alphabet="#\n '\"=x1()\t\\:", max_size=60))
@example("\\\n#")
@example("x = 1\\\n\n")
def test_taking_comments_out_changes_no_program(code):
    bare = without_comments(code)
    try:
        before = ast.dump(ast.parse(code))
    except (SyntaxError, ValueError):
        return
    assert ast.dump(ast.parse(bare)) == before


def test_tokens_of_a_tokenizer_are_escaped_even_where_they_overlap():
    assert escape_tokens("abc", ("ab", "bc")) == "\\u0061\\u0062c"
    assert escape_tokens("a b\n", (" ", "\n")) == "a b\n"
    assert escape_tokens("x|||NAME|||", ("|||NAME|||",)) == "x\\u007c||NAME|||"
    assert escape_tokens("😀 x", ("😀",)) == "\\U0001f600 x"
