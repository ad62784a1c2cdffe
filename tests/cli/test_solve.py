"""`trl-mle solve`, as a user calls it."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.support.openai_server import completion, serve
from tests.support.solving import NumberSandbox, ScriptedPolicy, kaggle_folder, text_of
from tests.support.tasks import toy_task
from trl_mle.cli.main import app
from trl_mle.cli.solve import completion_tokens, endpoint_options, prompt_budget
from trl_mle.cli.solve_display import Display, show_solution
from trl_mle.errors import ConfigError, UserError


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, list(map(str, ("solve", *arguments))))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture
def scripted(monkeypatch):
    """Programs are numbers, and the policy is given by the test."""

    def use(*answers, **sandbox):
        opened = []

        def open_policy(model, *, endpoint=None, **options):
            opened.append((model, endpoint))
            return ScriptedPolicy(*answers)

        monkeypatch.setattr("trl_mle.language_models.sampling.open_policy", open_policy)
        monkeypatch.setattr("trl_mle.sandboxes.LocalSandbox", lambda config: NumberSandbox(**sandbox))
        return opened

    return use


def test_a_task_is_solved_and_goes_on(tmp_path, scripted):
    opened = scripted(text_of("offset = 0.5"), text_of("offset = 0.2"))
    toy, out = toy_task(tmp_path), tmp_path / "out"
    arguments = (toy.folder, "--model", "m", "--endpoint", "http://h/v1", "--budget", "60s", "--out", out)
    code, text = run(*arguments, "--attempts", "4")
    assert code == 0 and opened == [("m", "http://h/v1")]
    assert "(scratch): rmse 0.2" in text and "4 attempts, 4 valid" in text and "4 attempts are made" in text
    best = text[text.index("Best: attempt ") :].splitlines()[0]
    assert "rmse 0.2" in best and "(private 0.2" in best
    assert {path.name for path in out.iterdir()} >= {"solution.py", "submission.csv", "page.html"}
    code, text = run(*arguments, "--attempts", "6")
    assert code == 0 and "6 attempts, 6 valid" in text and best in text


def test_without_a_valid_program_the_reasons_are_said(tmp_path, scripted):
    scripted(text_of("offset = 1"), "nothing", fails_on=(1.0,))
    out = tmp_path / "out"
    code, text = run(toy_task(tmp_path).folder, "--model", "m", "--endpoint", "x", "--attempts", "4", "--out", out)
    assert code == 1 and "2 x ValueError: bad offset 1.0" in text and "2 x no program: no code block" in text
    assert (out / "page.html").exists() and not (out / "solution.py").exists()


def test_through_an_endpoint(tmp_path, monkeypatch):
    """With the real client, and a server that answers with one choice per request."""
    pytest.importorskip("openai")
    monkeypatch.setattr("trl_mle.sandboxes.LocalSandbox", lambda config: NumberSandbox())
    with serve(completion(text_of("offset = 0.3"))) as (url, server):
        arguments = (toy_task(tmp_path).folder, "--model", "m", "--endpoint", url, "--out", tmp_path / "out")
        code, text = run(*arguments, "--attempts", "3")
    assert code == 0 and "rmse 0.3" in text and server.requests[0]["model"] == "m"
    assert server.requests[0]["temperature"] == 1.0 and server.requests[0]["max_tokens"] == 2048


def test_a_slow_endpoint_has_a_second_per_token():
    assert endpoint_options("m", "http://h/v1", 2048) == {"timeout_s": 2048.0}
    assert endpoint_options("m@http://h/v1", None, 300) == {"timeout_s": 600.0}
    assert endpoint_options("some/model", None, 2048) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("builtin:nothing",), "nothing"),
        (("builtin:digits", "--budget", "30"), "has no unit"),
        (("builtin:digits", "--budget", "soon"), "no duration|no unit"),
        (("builtin:digits", "--time-limit", "-5"), "`--time-limit` is -5"),
        (("builtin:digits", "--top-p", "0"), "`top_p` is 0"),
    ],
)
def test_errors_name_the_value(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        run(*arguments, "--model", "m", "--endpoint", "http://127.0.0.1:1/v1", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_local_model_that_is_not_there_is_named_at_once(tmp_path):
    with pytest.raises(UserError, match=r"`--model` is 'runs/nothing', but there is no model"):
        run("builtin:digits", "--model", "runs/nothing", "--out", tmp_path / "out")


def test_a_later_session_refuses_other_flags_and_other_tables(tmp_path, scripted):
    scripted("no program")
    home = kaggle_folder(tmp_path)
    common = (home, "--model", "m", "--endpoint", "x", "--attempts", "1", "--out", tmp_path / "out")
    flags = ("--target", "price", "--metric", "rmse")
    for later in (flags, flags, ()):
        assert run(*common, *later)[0] == 1
    with pytest.raises(UserError, match=r"`--metric` is mae, but the search in .* has rmse"):
        run(*common, "--metric", "mae")
    with (home / "test.csv").open("a") as file:
        file.write("h9999;50,0;3;01.01.2021;x\n")
    with pytest.raises(UserError, match="have changed since the search"):
        run(*common)


def test_a_kaggle_folder_says_what_is_missing(tmp_path):
    home = kaggle_folder(tmp_path)
    arguments = (home, "--model", "m", "--endpoint", "x", "--out", tmp_path / "out")
    with pytest.raises(UserError, match=r"is not confirmed. Write `--yes`"):
        run(*arguments)
    (home / "test.csv").unlink()
    with pytest.raises(UserError, match=r"no task.yaml and no test.csv"):
        run(*arguments)
    (home / "train.csv").unlink()
    with pytest.raises(UserError, match=r"no task.yaml and no test.csv"):
        run(*arguments)


def test_the_longest_prompt_is_what_the_context_leaves():
    policy = ScriptedPolicy()
    assert prompt_budget(policy, 100, 50).tokens == 100
    assert prompt_budget(policy, 100, 50).count([{"role": "user", "content": "x" * 30}]) == 10
    assert completion_tokens(policy) == 2048
    policy.context_tokens = 120
    assert completion_tokens(policy) == 60
    assert prompt_budget(policy, 100, 50).tokens == 70
    with pytest.raises(ConfigError, match="`--max-tokens` is 200, and the context of 'scripted' has 120 tokens"):
        prompt_budget(policy, 100, 200)


def test_texts_of_a_task_cannot_write_over_the_terminal():
    outcome = SimpleNamespace(public=SimpleNamespace(score=0.5), private=None, duration_s=None)
    best = SimpleNamespace(id=3, outcome=outcome, experience=SimpleNamespace(prompt_kind="scratch"))
    moment = SimpleNamespace(attempts=1, valid=1, running=0, best=best, asking_s=0.0, left_s=5.0)
    solution = SimpleNamespace(attempts=1, valid=1, seconds=3.0, reason="over\a", best=best, out=Path("out"))
    task, console = SimpleNamespace(metric="\x1b[2Jown"), Console(file=io.StringIO(), width=100)
    Display(task, 60.0, console).update(moment, best)
    show_solution(solution, task, console)
    shown = console.file.getvalue()
    assert shown.count("own 0.5") == 2 and "\x1b" not in shown and "\a" not in shown
