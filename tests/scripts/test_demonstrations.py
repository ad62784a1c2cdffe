"""A user's own demonstrations: each row that nothing can be learned from is named before anything is trained."""

import pytest
from datasets import Dataset

from trl_mle.errors import ConfigError
from trl_mle.scripts.demonstrations import as_prompt_completion, load_rows, texts_of

USER = {"role": "user", "content": "a"}
ANSWER = {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": "a", "completion": "b"},
    ],
)
def test_the_forms_of_demonstrations(row):
    assert list(texts_of(as_prompt_completion(Dataset.from_list([row])))) == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"messages": None}, "Row 1 .* has 'None' as `messages`"),
        ({"messages": [USER, ANSWER | {"content": None}]}, "Row 1 .* as `messages`"),
        ({"messages": [{"content": "a"}, {"content": "b"}]}, "Row 1 .* as `messages`"),
        ({"messages": [ANSWER]}, "needs a prompt"),
        ({"messages": [USER, USER]}, "needs a prompt"),
        ({"prompt": "a", "completion": None}, "Row 1 .* has 'None' as `completion`.*or a text"),
        ({"question": "a"}, "have the columns"),
    ],
)
def test_a_row_without_an_answer_is_named(row, words):
    first = {"messages": [USER, ANSWER]} if "messages" in row else {"prompt": "a", "completion": "b"}
    with pytest.raises(ConfigError, match=words):
        as_prompt_completion(Dataset.from_list([row if "question" in row else first, row]))


def test_no_rows_and_no_file_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no rows"):
        as_prompt_completion(Dataset.from_dict({"messages": []}))
    (tmp_path / "d.JSONL").touch()
    with pytest.raises(ConfigError, match="it is empty"):
        load_rows(str(tmp_path / "d.JSONL"), "train")
    with pytest.raises(ConfigError, match="`demonstrations` is empty"):
        load_rows(" ", "train")
