"""How a policy is written down, and what its tokens cost."""

from __future__ import annotations

import pytest

from trl_mle.errors import ConfigError
from trl_mle.language_models.sampling import PolicySource, Prices, open_policy, parse_source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/quickstart/", PolicySource("runs/quickstart", "runs/quickstart/")),
        ("Qwen/Qwen3-4B", PolicySource("Qwen/Qwen3-4B", "Qwen/Qwen3-4B")),
        ("base=Qwen/Qwen3-4B", PolicySource("base", "Qwen/Qwen3-4B")),
        ("vllm:runs/a", PolicySource("runs/a", "runs/a", "vllm")),
        ("big=m@http://127.0.0.1:8/v1", PolicySource("big", "m", "endpoint", "http://127.0.0.1:8/v1")),
        ("org/m@https://h/v1", PolicySource("org/m", "org/m", "endpoint", "https://h/v1")),
        ("runs/seed=1/checkpoint-5", PolicySource("runs/seed=1/checkpoint-5", "runs/seed=1/checkpoint-5")),
    ],
)
def test_sources(text, expected):
    assert parse_source(text) == expected


@pytest.mark.parametrize("text", ["", "vllm:", "http://127.0.0.1:8/v1", "a=vllm:"])
def test_texts_that_name_no_policy(text):
    with pytest.raises(ConfigError, match="NAME="):
        parse_source(text)


def test_costs():
    assert Prices(2.0, 10.0).cost(1000, 100) == pytest.approx(0.003)
    assert Prices(2.0, 10.0).cost(None, 100) is None
    with pytest.raises(ConfigError, match="price"):
        Prices(completion=-1.0)


def test_a_setting_that_the_kind_does_not_have_is_named(tmp_path):
    with pytest.raises(ConfigError, match="batch_size"):
        open_policy("m", endpoint="http://127.0.0.1:8/v1", batch_size=4)


@pytest.mark.parametrize("url", ["http://user:secret@host/v1", "ftp://host/v1"])
def test_a_url_with_a_password_is_refused_and_not_shown(url):
    with pytest.raises(ConfigError) as caught:
        open_policy("m", endpoint=url)
    assert "secret" not in str(caught.value)
