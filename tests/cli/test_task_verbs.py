"""`trl-mle tasks preview`, `grade` and `run`, as a user calls them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from tests.support.sandbox_doubles import Scripted, execution
from tests.support.tasks import toy_task
from tests.support.tokenizers import family_tokenizer
from trl_mle.cli.tasks import app
from trl_mle.errors import SandboxError, UserError
from trl_mle.evaluation.validate import ProgramScore, Validation
from trl_mle.prompts import PromptBudget, build_prompt
from trl_mle.tasks.hub import PulledTask
from trl_mle.types import Grade

GOOD = """import pandas as pd
from sklearn.linear_model import LinearRegression
train, test = pd.read_csv("input/train.csv"), pd.read_csv("input/test.csv")
features = train[["a", "b"]]
model = LinearRegression()
model.fit(features, train["y"])
print("\\x1b[2J\\x1b[31mred\\x1b[0m [bold]score")
test.assign(y=model.predict(test[["a", "b"]]))[["id", "y"]].to_csv("submission.csv", index=False)
"""


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_run_in_the_sandbox(toy, tmp_path):
    code, out = run("run", toy.folder, program(tmp_path, GOOD))
    assert code == 0
    rows = {cells[1].strip(): cells[2].strip() for line in out.splitlines() if len(cells := line.split("│")) == 4}
    assert rows["trained model"] == rows["wrote predictions"] == "reached"
    assert rows["evaluated model"] == "not found"
    assert rows["seconds"].endswith("of 20")
    assert "red [bold]score" in out and "\x1b[2J" not in out
    assert "public" in out and "private" in out and "Reward 0.9" in out
    code, out = run("run", toy.folder, program(tmp_path, "while True: pass"), "--wall-s", "0.5")
    assert (code, "The time limit is over" in out, "of 0.5" in out) == (1, True, True)
    code, out = run("run", toy.folder, program(tmp_path, "def"))
    assert (code, "SyntaxError" in out, "Reward -10 " in out) == (1, True, True)


def answer(monkeypatch, reply):
    """Put a sandbox that gives `reply` in the place of the local one."""
    monkeypatch.setattr("trl_mle.sandboxes.LocalSandbox", lambda config: Scripted(reply))


def test_run_tells_the_outcomes_apart(toy, tmp_path, monkeypatch):
    path = program(tmp_path, GOOD)
    sample = (toy.public_dir / "sample_submission.csv").read_bytes()
    text = "\x1b[2J\x1b[31mred\x1b[0m [bold]score"
    answer(monkeypatch, execution(submission=sample, stdout=text))
    code, out = run("run", toy.folder, path)
    assert (code, "red [bold]score" in out, "\x1b" in out, "2.00 (CPU 1.50) of 20" in out) == (0, True, False, True)
    answer(monkeypatch, execution(submission=b"id\n", stderr="a" * 5000))
    code, out = run("run", toy.folder, path, "--tail", "30")
    assert (code, "Reward -10 " in out, "missing column 'y'" in out, "a" * 31 in out) == (1, True, True, False)
    answer(monkeypatch, execution("timeout", exit_code=None))
    code, out = run("run", toy.folder, path, "--wall-s", "0.5")
    assert (code, "The time limit is over" in out, "of 0.5" in out) == (1, True, True)
    answer(monkeypatch, SandboxError("the disk is gone"))
    code, out = run("run", toy.folder, path)
    assert (code, "No reward" in out, "the disk is gone" in out) == (3, True, True)


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_program_that_is_no_text_is_a_user_error(toy, tmp_path, content):
    path = tmp_path / "program.py"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"program\.py"):
        run("run", toy.folder, path)


def test_grade_shows_each_part_or_one(toy, tmp_path):
    code, out = run("grade", toy.folder, toy.public_dir / "sample_submission.csv")
    assert code == 0
    scores = [toy.grade(toy.public_dir / "sample_submission.csv", part).score for part in ("public", "private", "all")]
    assert all(f"{score:.6g}" in out for score in scores)
    code, out = run("grade", toy.folder, toy.public_dir / "sample_submission.csv", "--split", "private")
    assert (f"{scores[1]:.6g}" in out, f"{scores[0]:.6g}" in out) == (True, False)


def test_grade_of_an_invalid_submission_says_why(toy, tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text("id,y\n1,\x1b[31mred\n")
    code, out = run("grade", toy.folder, path)
    assert (code, "The submission is invalid:" in out, "\x1b" in out) == (1, True, False)
    with pytest.raises(UserError, match="--split"):
        run("grade", toy.folder, path, "--split", "test")
    with pytest.raises(UserError, match="does not exist"):
        run("grade", toy.folder, tmp_path / "none.csv")


def test_preview_counts_the_tokens_of_a_folder(toy, tmp_path):
    messages = build_prompt(toy)
    tokenizer = family_tokenizer("llama", [message["content"] for message in messages])
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    code, out = run("preview", toy.folder, "--tokenizer", tmp_path / "tokenizer")
    assert code == 0
    assert f"{PromptBudget.of_tokenizer(tokenizer, 1).count(messages)} tokens" in out
    assert all(line in out for message in messages for line in message["content"].splitlines())
    with pytest.raises(UserError, match="may have 3"):
        run("preview", toy.folder, "--tokenizer", tmp_path / "tokenizer", "--max-tokens", 3)


def test_preview_shows_a_parent_that_was_run(toy, tmp_path, monkeypatch):
    path = program(tmp_path, GOOD)
    answer(monkeypatch, execution(submission=(toy.public_dir / "sample_submission.csv").read_bytes()))
    code, out = run("preview", toy.folder, "--parent", path)
    assert code == 0
    assert "model = LinearRegression()" in out and "better" in out
    assert "`--tokenizer` counts tokens" in out
    answer(monkeypatch, SandboxError("the disk is gone"))
    with pytest.raises(UserError, match=r"cannot be shown: .*the disk is gone"):
        run("preview", toy.folder, "--parent", path)


def test_preview_names_what_is_wrong(toy, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["--tokenizer", tmp_path / "empty"], "empty' .`--tokenizer`. cannot be loaded"),
        (["--max-tokens", 5], "needs `--tokenizer`"),
    ):
        with pytest.raises(UserError, match=message):
            run("preview", toy.folder, *arguments)


@pytest.fixture
def hostile(tmp_path):
    """A task folder with texts that would write over the terminal."""
    folder = toy_task(tmp_path).folder
    text = (folder / "task.yaml").read_text()
    (folder / "task.yaml").write_text(
        text.replace("title: A line", 'title: "A \\e[2Jline"\nlicense: "cc0\\e]52;c;aGk=\\a"')
    )
    (folder / "description.md").write_text("Predict\x1b[2J y.\n")
    for name in ("train", "test"):
        path = folder / "public" / f"{name}.csv"
        path.write_text(path.read_text().replace(",a,", ",a\x1b[2J,", 1))
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"), [(("show",), ("A line", "cc0")), (("show", "--prompt"), ("A line",)), (("preview",), ())]
)
def test_texts_of_a_task_cannot_write_over_the_terminal(hostile, arguments, words):
    code, out = run(*arguments, hostile)
    assert code == 0 and all(word in out for word in (*words, "Predict y."))
    assert "\x1b" not in out and "\a" not in out


def test_the_home_folder_may_be_written_as_a_tilde(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(tmp_path / "exported/toy") in run("export", toy.folder, "--out", "~/exported")[1]
    with pytest.raises(UserError, match="--out"):
        run("export", toy.folder, "--out", "~nobody-of-this-name/exported")


@pytest.mark.parametrize("size", ["nan", "inf", "0", "-1"])
def test_a_size_that_is_none_is_named(size):
    with pytest.raises(UserError, match="--max-gib"):
        run("pull", "me/tasks", "--max-gib", size)


def test_names_of_tasks_and_reasons_of_a_pull_cannot_either(tmp_path, monkeypatch):
    monkeypatch.setattr("trl_mle.tasks.list_tasks", lambda: {"sandmle:\x1b[2Ja": "[bold]b\x1b[2J"})
    code, out = run("list")
    assert (code, "sandmle:a" in out, "[bold]b" in out, "\x1b" in out) == (0, True, True, False)
    refused = PulledTask("toy", None, "its metric is \x1b[2J[bold]")
    monkeypatch.setattr("trl_mle.tasks.hub.pull_tasks", lambda *args, **settings: [refused])
    code, out = run("pull", "me/tasks")
    assert (code, "its metric is [bold]" in out, "\x1b" in out) == (1, True, False)


def test_the_name_of_a_metric_cannot_either(toy, tmp_path, monkeypatch):
    async def validate(task, sandbox):
        return Validation(task.id, ProgramScore(1.0, 2.0, 3.0), None)

    monkeypatch.setattr("trl_mle.tasks.load_task", lambda name: replace(toy, metric="\x1b[2J[bold]own"))
    monkeypatch.setattr("trl_mle.evaluation.validate_task", validate)
    monkeypatch.setattr(type(toy), "grade", lambda task, file, part: Grade(1.0, True))
    answer(monkeypatch, execution())
    for arguments in (("validate", "toy"), ("grade", "toy", toy.public_dir / "sample_submission.csv")):
        code, out = run(*arguments)
        assert (code, "[bold]own" in out, "\x1b" in out) == (0, True, False)
