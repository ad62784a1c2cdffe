"""YAML values mean what the same text means as a flag, and every error names its key."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Literal, get_type_hints

import pytest

from trl_mle.errors import ConfigError
from trl_mle.scripts.arguments import MLEArguments
from trl_mle.scripts.settings import parse_arguments


@dataclass
class Settings:
    tasks: list[str] = field(default_factory=list)
    rate: float = 0.1
    steps: int = 3
    cpu: bool = False
    strategy: str = "steps"
    folder: str | None = None
    share: float | None = 0.5
    kind: Literal["a", "b"] = "a"
    numbers: list[int] | None = None
    kwargs: dict | str | None = None
    save_steps: int = 1
    fsdp: str | None = None


def parsed(tmp_path, text, *flags, encoding="utf-8"):
    (tmp_path / "c.yaml").write_text(text, encoding=encoding)
    return parse_arguments("grpo", (Settings,), ["--config", str(tmp_path / "c.yaml"), *flags])[0]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("tasks: builtin:digits", "tasks", ["builtin:digits"]),
        ("tasks: [builtin:digits, ./a]", "tasks", ["builtin:digits", "./a"]),
        ("numbers: 3", "numbers", [3]),
        ("numbers: ['3', 4]", "numbers", [3, 4]),
        ("numbers: null", "numbers", None),
        ("rate: 1e-5", "rate", 1e-5),
        ("rate: '1e-5'", "rate", 1e-5),
        ("steps: '7'", "steps", 7),
        ("cpu: 'no'", "cpu", False),
        ("cpu: on", "cpu", True),
        ("strategy: no", "strategy", "no"),
        ("strategy: 0123", "strategy", "0123"),
        ("folder: 2024-01-01", "folder", "2024-01-01"),
        ("folder:", "folder", None),
        ("fsdp: true", "fsdp", True),
        ("folder: true", "folder", "true"),
        ("folder: on", "folder", "on"),
        ("strategy: true", "strategy", "true"),
        ("kwargs: {a: 1e-6}", "kwargs", {"a": 1e-6}),
        ("share: ~", "share", None),
        ("kind: b", "kind", "b"),
        ("kwargs: {a: 1}", "kwargs", {"a": 1}),
    ],
)
def test_values_are_read_as_flags_are(tmp_path, text, name, value):
    assert getattr(parsed(tmp_path, text), name) == value
    assert getattr(parsed(tmp_path, text, encoding="utf-8-sig"), name) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate: quick", ["`rate`", "'quick'", "a number"]),
        ("rate: true", ["`rate`", "'true'"]),
        ("rate: [1, 2]", ["`rate`", "a list"]),
        ("steps: 1.5", ["`steps`", "1.5", "a whole number"]),
        ("steps:\n  a: 1", ["`steps`", "a mapping"]),
        ("cpu: maybe", ["`cpu`", "'maybe'"]),
        ("share: None", ["`share`", "null"]),
        ("kind: c", ["`kind`", "'c'", "one of a, b"]),
        ("tasks: [a, null]", ["`tasks`", "empty"]),
        ("tasks: {a: 1}", ["`tasks`", "a mapping"]),
        ("steps: 1\nsteps: 2", ["line 2", "`steps`", "twice"]),
        ("", ["mapping"]),
        ("- 1", ["mapping"]),
        ("env: 3", ["`env`"]),
        ("nothing: 3", ["`nothing`"]),
        ("help: true", ["`help` is not a key"]),
        ("config: a.yaml", ["`config` is not a key"]),
        ("1: 3", ["`1`"]),
    ],
)
def test_errors_name_the_key(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        parsed(tmp_path, text)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_key_is_a_fields_name(tmp_path):
    """A flag may have dashes. A key with dashes would be ignored, so it is named."""
    assert parsed(tmp_path, "steps: 1", "--save-steps", "7").save_steps == 7
    with pytest.raises(ConfigError, match="Did you mean `save_steps`"):
        parsed(tmp_path, "save-steps: 3")


def test_keys_that_yaml_merges_give_way_to_the_files_own(tmp_path):
    settings = parsed(tmp_path, "env: &shared {steps: 9, rate: 2}\n<<: *shared\nsteps: 4\n")
    assert (settings.steps, settings.rate) == (4, 2)


def test_the_file_itself_is_named(tmp_path):
    with pytest.raises(ConfigError, match="not UTF-8"):
        parsed(tmp_path, "strategy: Größe", encoding="utf-16")
    for flags, words in (
        (["--config", str(tmp_path)], "is a folder"),
        (["--config"], "has no value"),
        (["--config", "--steps", "1"], "has no value"),
        (["--config", "a", "--config=b"], "2 times"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse_arguments("grpo", (Settings,), flags)


def test_flags_win_and_the_file_may_stand_after_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.delenv("TRL_MLE_TEST", raising=False)
    (tmp_path / "c.yaml").write_text("steps: 4\nrate: 1\nenv: {TRL_MLE_TEST: 5}\n")
    settings = parse_arguments("grpo", (Settings,), ["--steps", "5", f"--config={tmp_path / 'c.yaml'}"])[0]
    assert (settings.steps, settings.rate) == (5, 1)
    assert __import__("os").environ.pop("TRL_MLE_TEST") == "5"


def impossible_values():
    hints = get_type_hints(MLEArguments)
    for item in fields(MLEArguments):
        kind = str(hints[item.name])
        values = [-1, 0] if "int" in kind else [float("nan"), float("inf"), -1.0] if "float" in kind else [""]
        if kind != str(bool) and item.name != "tasks":
            yield from ((item.name, value) for value in values)


POSSIBLE = {("agent_turns", 0), ("infrastructure_retries", 0), ("milestone_reward", 0), ("retrieved_examples", 0)}


@pytest.mark.parametrize(("key", "value"), [pair for pair in impossible_values() if pair not in POSSIBLE])
def test_every_key_is_named_by_its_own_error(key, value):
    with pytest.raises(ConfigError) as caught:
        MLEArguments(tasks=["builtin:digits"], **{key: value})
    assert f"`{key}`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_task_as_text_is_one_task():
    assert MLEArguments(tasks="builtin:digits").tasks == ["builtin:digits"]
    for empty in ("", [], [""], None):
        with pytest.raises(ConfigError, match="`tasks` is empty"):
            MLEArguments(tasks=empty)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("steps: 010", "steps", 10),
        ("steps: 1_0", "steps", 10),
        ("rate: 1e1", "rate", 10.0),
        ("numbers: [007]", "numbers", [7]),
        ("kwargs: {a: 1e-5, b: 010, c: no, d: 1:30}", "kwargs", {"a": 1e-5, "b": 10, "c": False, "d": "1:30"}),
    ],
)
def test_numbers_are_read_as_people_mean_them(tmp_path, text, name, value):
    assert getattr(parsed(tmp_path, text), name) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: 1:30", ["`steps`", "1:30"]),
        ("steps: !!int ''", ["line 1", "no value of the type int"]),
        ("steps: !!bool x", ["line 1", "no value of the type bool"]),
        ("rate: !!timestamp x", ["line 1", "no value of the type timestamp"]),
        ("steps: " + "9" * 5000, ["line 1", "no value of the type int"]),
        ("? [a]\n: 1", ["line 1", "a key must be a single value"]),
        ("kwargs: {a: 1, a: 2}", ["line 1", "`a` occurs twice"]),
        ("kwargs: " + "[" * 3000 + "]" * 3000, ["nested too deeply"]),
        ("steps: 1\n\0", ["c.yaml", "not valid YAML"]),
        ("env: {A: null}", ["`env`", "`A`"]),
        ("env: {A: [1]}", ["`env`", "`A`"]),
        ("env: {'A=B': x}", ["`env`", "'A=B'"]),
        ("env: {'': x}", ["`env`", "''"]),
        ('env: {A: "a\\0"}', ["`env`", "`A`"]),
        ("env: {A: 1, A: 2}", ["`A` occurs twice"]),
    ],
)
def test_what_no_yaml_has_is_named(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        parsed(tmp_path, text)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_variables_are_the_texts_of_the_file(tmp_path, monkeypatch):
    for name in ("A", "B", "C", "D"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")  # so that it is removed afterwards
    parsed(tmp_path, "kwargs: &base {A: 010, B: no}\nenv: {<<: *base, C: 12:30, D: '', B: 1e5}\n")
    assert [os.environ[name] for name in "ABCD"] == ["010", "1e5", "12:30", ""]
