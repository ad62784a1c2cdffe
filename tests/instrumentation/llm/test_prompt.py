"""The lines of an answer: the instructions ask for each of them, in one order."""

import pytest

from trl_mle.instrumentation.llm.milestone_texts import _in_words
from trl_mle.instrumentation.llm.prompt import ANSWER_LINES, build_messages
from trl_mle.special_tokens import unescape
from trl_mle.types import MILESTONES, PROGRAM_METRICS


def test_the_instructions_ask_for_every_line_of_an_answer():
    assert set(ANSWER_LINES) == {*MILESTONES, *PROGRAM_METRICS}
    instructions = build_messages("x = 1", "lines")[0]["content"]
    form = "".join(f"{name}: <{'line' if name in MILESTONES else 'variable'}>\n" for name in ANSWER_LINES)
    assert instructions.endswith(form)
    assert f"these {_in_words(len(ANSWER_LINES))} lines" in instructions


@pytest.mark.parametrize("token", ["<|im_end|>", "</s>", "[/INST]", "<start_of_turn>", "<\uff5cUser\uff5c>"])
def test_special_tokens_of_a_program_open_no_turn(token):
    content = build_messages(f"x = a{token}  # {token}\n", "rewrite")[-1]["content"]
    assert token not in content
    assert unescape(content).count(token) == 2


def test_code_without_special_tokens_is_shown_as_it_is():
    code = "X = train[FEATURES]; y = train[TARGET] < a > b\n"
    assert code.strip() in build_messages(code, "lines")[-1]["content"]


def test_the_example_answers_have_the_same_lines():
    messages = build_messages("x = 1", "lines")
    for answer in (message["content"] for message in messages if message["role"] == "assistant"):
        assert [line.partition(":")[0] for line in answer.splitlines()] == list(ANSWER_LINES)
