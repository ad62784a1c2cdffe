"""The lines of an answer: the instructions ask for each of them, in one order."""

from trl_mle.instrumentation.llm.milestone_texts import _in_words
from trl_mle.instrumentation.llm.prompt import ANSWER_LINES, build_messages
from trl_mle.types import MILESTONES, PROGRAM_METRICS


def test_the_instructions_ask_for_every_line_of_an_answer():
    assert set(ANSWER_LINES) == {*MILESTONES, *PROGRAM_METRICS}
    instructions = build_messages("x = 1", "lines")[0]["content"]
    form = "".join(f"{name}: <{'line' if name in MILESTONES else 'variable'}>\n" for name in ANSWER_LINES)
    assert instructions.endswith(form)
    assert f"these {_in_words(len(ANSWER_LINES))} lines" in instructions


def test_the_example_answers_have_the_same_lines():
    messages = build_messages("x = 1", "lines")
    for answer in (message["content"] for message in messages if message["role"] == "assistant"):
        assert [line.partition(":")[0] for line in answer.splitlines()] == list(ANSWER_LINES)
