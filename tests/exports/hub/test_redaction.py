"""Texts for others hold no secret of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trl_mle.exports.hub.redaction import HIDDEN, redacted

SECRETS = (
    "hf_" + "Ab3" * 10,
    "sk-proj-" + "x_1-" * 8,
    "e2b_" + "0af" * 8,
    "AKIA" + "ABCD" * 4,
    "github_pat_" + "1B_" * 20,
)


@given(before=st.text(max_size=30), after=st.text(max_size=30), secret=st.sampled_from(SECRETS))
def test_tokens_are_hidden_wherever_they_stand(before, after, secret):
    assert secret not in redacted(f"{before} {secret} {after}")
    assert secret not in redacted(f"{before}_{secret}")


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "OPENAI_API_KEY", "my_password", "AWS_SECRET_ACCESS_KEY", "DB_CREDENTIALS", "PGPASSWORD", "APIKEY"],
)
def test_values_of_secret_variables_are_hidden(monkeypatch, name):
    monkeypatch.setenv(name, "swordfish-1")
    assert redacted("x=swordfish-1;") == f"x={HIDDEN};"


def test_other_variables_and_short_values_are_left(monkeypatch):
    monkeypatch.setenv("LANGUAGE", "en_US.UTF-8")
    monkeypatch.setenv("KEY", "a")
    assert redacted("a language: en_US.UTF-8") == "a language: en_US.UTF-8"


def test_the_home_folder_is_hidden_and_its_namesakes_are_not(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert redacted("/home/me/runs '/home/me' /home/men/x") == "~/runs '~' /home/men/x"
    assert redacted("in /home/me. Or /home/me; \\n/home/me\\n") == "in ~. Or ~; \\n~\\n"
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert redacted("/usr/bin") == "/usr/bin"
