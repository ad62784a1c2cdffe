"""`trl-mle evaluate`: settings, defaults of a policy's run, real programs in the sandbox, and a user who stops it."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.support.tasks import toy_task
from tests.support.tiny import save_chat_model
from trl_mle.errors import ConfigError
from trl_mle.evaluation.sample_store import SampleStore
from trl_mle.scripts import evaluate
from trl_mle.scripts.evaluate_arguments import EvaluateArguments
from trl_mle.scripts.trained_policies import training_of

ROOT = Path(__file__).parents[2]
GOOD = (
    "import pandas as pd\nfrom sklearn.linear_model import LinearRegression\n"
    "train, test = pd.read_csv('input/train.csv'), pd.read_csv('input/test.csv')\n"
    "model = LinearRegression().fit(train[['a', 'b']], train['y'])\n"
    "pd.DataFrame({'id': test['id'], 'y': model.predict(test[['a', 'b']])}).to_csv('submission.csv', index=False)\n"
)
MEAN = GOOD.replace("model.predict(test[['a', 'b']])", "train['y'].mean()")
CONFIG = """\
mle: {tasks: [builtin:computers], program_time_limit_s: 7.0}
training: {max_completion_length: 6, temperature: 0.5, top_p: 1.0, max_steps: 3}
"""


@pytest.fixture
def task(tmp_path):
    return str(toy_task(tmp_path, reference=GOOD, baseline=MEAN).folder)


def settings_of(*policies, **changes):
    return EvaluateArguments(tasks=["builtin:computers"], policies=list(policies), **changes)


def test_samples_are_drawn_as_in_the_policys_training(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    (tmp_path / "config.yaml").write_text(CONFIG)
    training = training_of(str(tmp_path / "checkpoint-3"))
    assert training == training_of(str(tmp_path))
    assert training.tasks == ("builtin:computers",)
    assert training.program_time_limit_s == 7.0
    settings = settings_of(str(tmp_path)).settings([training])
    assert (settings.temperature, settings.max_tokens, settings.n) == (0.5, 6, 128)
    assert settings.max_prompt_tokens is None, "what the context leaves"
    assert settings_of("a", max_prompt_tokens=99).settings([]).max_prompt_tokens == 99
    assert settings_of("a", temperature=0.0, max_tokens=9).settings([training]).max_tokens == 9
    (tmp_path / "config.yaml").write_text(CONFIG.replace("0.5", "0.7"))
    with pytest.raises(ConfigError, match="different `temperature`"):
        settings_of("a").settings([training, training_of(str(tmp_path))])
    assert training_of("Qwen/Qwen3-4B") is None
    (tmp_path / "config.yaml").write_text("[not, a, run]")
    assert training_of(str(tmp_path)) is None


def test_policies():
    arguments = settings_of(
        "reference",
        "weak=baseline",
        "big=m@http://127.0.0.1:8/v1",
        "vllm:org/model",
        prompt_price=1.0,
        request_fields='{"max_tokens": null}',
        vllm_fields='{"max_model_len": 9}',
    )
    candidates = arguments.candidates({})
    assert [(item.name, item.program) for item in candidates] == [
        ("reference", "reference"),
        ("weak", "baseline"),
        ("big", None),
        ("org/model", None),
    ]
    big = candidates[2].open()
    assert big.extra == {"max_tokens": None}
    assert big.prices.prompt == 1.0


def test_agents():
    assert settings_of("a", agent_turns=2).settings([]).mode == "agent"
    assert settings_of("a").settings([]).mode == "scratch"
    with pytest.raises(ConfigError, match="`agent_turns` is 2 and `mode` is 'improve'"):
        settings_of("a", agent_turns=2, mode="improve")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "builtin:computers"], "`policies` is empty"),
        (["--policies", "a"], "`tasks` is empty"),
        (
            ["--policies", "a", "--tasks", "builtin:computers", "--improve_fraction", "0.5"],
            "`improve_fraction` is a setting of",
        ),
        (["--policies", "a", "--tasks", "builtin:computers", "--mode", "other"], "`mode` is 'other'"),
        (["--policies", "a@http://h/v1", "--tasks", "builtin:computers", "--request_fields", "["], "no JSON object"),
        (["--policies", "no/such", "--tasks", "builtin:computers", "--polices", "a"], "`--polices` is not a flag"),
        (["--show"], "`--show` needs"),
        (["--show", "no/such/folder"], "no evaluation in no/such/folder"),
    ],
)
def test_user_errors_are_one_line(arguments, message, capsys, tmp_path):
    if "--show" not in arguments:
        arguments = [*arguments, "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as caught:
        evaluate.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_real_programs_and_a_real_model(task, tmp_path, capsys):
    """The tasks' own programs are valid in the sandbox; a policy with random weights writes no program."""
    out, model = tmp_path / "out", save_chat_model(tmp_path / "model")
    flags = ["--tasks", task, "--output_dir", str(out), "--max_tokens", "4", "--sandbox_workers", "1", "-n", "2"]
    assert evaluate.main(["--policies", f"tiny={model}", "reference", "baseline", *flags]) == 0
    shown = capsys.readouterr().out
    assert "tiny" in shown
    assert "no_code_block" in shown
    content = json.loads((out / "evaluation.json").read_text())
    entries = {entry["policy"]: entry for entry in content["entries"]}
    assert entries["reference"]["best"]["private_score"] < entries["baseline"]["best"]["private_score"]
    assert entries["reference"]["milestones"]["wrote_predictions"] == 1.0
    assert entries["tiny"]["best"] is None
    assert entries["tiny"]["tokens"] == 4.0
    samples = pd.read_parquet(out / "samples.parquet")
    assert len(samples) == 4
    assert (out / "evaluation.png").stat().st_size > 1000
    (out / "evaluation.json").unlink()
    assert evaluate.main(["--show", str(out)]) == 0
    assert json.loads((out / "evaluation.json").read_text()) == content


@pytest.mark.slow
def test_a_user_who_stops_it_sees_the_table_so_far_and_may_go_on(task, tmp_path):
    model, out = save_chat_model(tmp_path / "model"), tmp_path / "out"
    command = [
        sys.executable, "-m", "trl_mle.cli.main", "evaluate", "--policies", "reference", f"tiny={model}", "--tasks", task,
        "--output_dir", str(out), "--max_tokens", "200", "--sandbox_workers", "1", "--n", "3000",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        while process.poll() is None and not _scored(out):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        shown, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "the table so far follows" in errors
    assert "Traceback" not in errors
    assert "reference" in shown
    assert (out / "evaluation.json").exists()


def _scored(out):
    """Whether the model has been asked, and has not come to the end."""
    try:
        with SampleStore(out, read_only=True) as store:
            places = store.places()
            return any(place.policy == "tiny" and store.records(place) for place in places)
    except (ConfigError, sqlite3.Error):  # there is no store yet
        return False


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_five_random_times_the_same_samples_are_drawn(task, tmp_path):
    """A real model and a real sandbox. Seconds of programs differ from run to run; everything else is equal."""
    model, rng = save_chat_model(tmp_path / "model"), random.Random(0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start(out):
        command = [
            sys.executable, "-m", "trl_mle.cli.main", "evaluate", "--policies", "reference", f"tiny={model}", "--tasks", task,
            "--output_dir", str(out), "--max_tokens", "100", "--batch_size", "4", "--sandbox_workers", "1", "--n", "64",
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    def samples(out):
        with SampleStore(out, read_only=True) as store:
            return [(row["policy"], row["number"], row["sample_text"], row["kind"]) for row in store.rows()]

    whole = start(tmp_path / "whole")
    whole.communicate(timeout=250)
    for _ in range(5):
        process = start(tmp_path / "killed")
        while process.poll() is None and not _scored(tmp_path / "killed"):
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        process.communicate()
    last = start(tmp_path / "killed")
    last.communicate(timeout=250)
    assert last.returncode == whole.returncode == 0
    assert samples(tmp_path / "killed") == samples(tmp_path / "whole")
    assert len(samples(tmp_path / "whole")) == 65
