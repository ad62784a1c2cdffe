"""`trl-mle grpo` and its kin: packaged recipes, launcher options, the quickstart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.tasks import toy_task
from trl_mle.errors import ConfigError
from trl_mle.scripts import launch, quickstart
from trl_mle.scripts.console import AfterTraining, hide_bars
from trl_mle.scripts.settings import RECIPES, recipe_names, recipe_path


@pytest.mark.parametrize("name", ["quickstart/grpo", "quickstart/grpo.yaml", "recipes/quickstart/grpo.yaml"])
def test_packaged_recipes_have_names(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert recipe_path(name) == str(RECIPES / "quickstart/grpo.yaml")
    assert recipe_path("mine.yaml") == "mine.yaml"


def test_a_file_of_the_user_wins_over_a_packaged_recipe(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("quickstart").mkdir()
    Path("quickstart/grpo.yaml").write_text("tasks: []")
    assert recipe_path("quickstart/grpo.yaml") == "quickstart/grpo.yaml"


@pytest.mark.parametrize("script", launch.SCRIPTS)
def test_names_of_packaged_recipes_can_be_used(script):
    assert recipe_names(script)
    assert all(Path(recipe_path(name)).is_file() for name in recipe_names(script))


def test_launcher_options_are_told_from_flags():
    arguments = [
        "--num_processes",
        "2",
        "--tasks",
        "a",
        "b",
        "--accelerate_config",
        "zero3",
        "--bf16",
        "--mixed_precision=bf16",
    ]
    options, flags = launch.split_launcher_options(arguments)
    zero3 = str(launch.CONFIGS / "zero3.yaml")
    assert options == ["--config_file", zero3, "--num_processes", "2", "--mixed_precision", "bf16"]
    assert flags == ["--tasks", "a", "b", "--bf16"]
    with pytest.raises(ConfigError, match=r"'zero9'.*ddp.*zero3"):
        launch.split_launcher_options(["--accelerate_config", "zero9"])


def test_flags_of_the_scripts_are_no_launcher_options():
    """A key of the YAML file that the launcher takes away could not be set by a flag."""
    from dataclasses import fields

    from trl import ModelConfig, SFTConfig

    from trl_mle import AsyncDurationAwareConfig, DurationAwareConfig
    from trl_mle.scripts.arguments import MLEArguments

    for config in (MLEArguments, DurationAwareConfig, AsyncDurationAwareConfig, SFTConfig, ModelConfig):
        assert not {item.name for item in fields(config)} & {*launch.LAUNCHER_OPTIONS, "accelerate_config"}


@pytest.mark.parametrize(
    ("flags", "cpu"),
    [
        (["--use_cpu", "true"], True),
        (["--use_cpu"], True),
        (["--config", "quickstart/grpo"], True),
        (["--config", "quickstart/grpo", "--use_cpu", "false"], False),
        (["--config", "qwen2.5-3b-instruct/grpo"], False),
        (["--config", "missing.yaml"], False),
    ],
)
def test_training_on_a_cpu_needs_no_launcher(flags, cpu):
    assert launch._uses_cpu(flags) == cpu


@pytest.mark.parametrize(
    "content", [b"use_cpu: true\xe9", b"x: " + b"[" * 3000, b"x: !!int ''", b"use_cpu: !!bool x", b"\0"]
)
def test_a_file_that_is_no_yaml_is_left_to_the_script(tmp_path, content):
    (tmp_path / "a.yaml").write_bytes(content)
    assert launch._uses_cpu(["--config", str(tmp_path / "a.yaml")]) is False


def test_several_gpus_get_a_process_each(monkeypatch, tmp_path):
    import torch
    from accelerate.commands.config import config_args

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(config_args, "default_config_file", str(tmp_path / "none.yaml"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch.default_launcher_options([])[:3] == ["--multi_gpu", "--num_processes", "4"]
    assert launch.default_launcher_options(["--use_cpu", "true"]) == []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert launch.default_launcher_options([]) == []
    monkeypatch.setenv("LOCAL_RANK", "0")  # a process of a launcher
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch.default_launcher_options([]) == []


def trl_mle(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "trl_mle.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=cwd, env=environment)


def test_help_lists_every_key_and_the_packaged_recipes(capsys):
    from tests.scripts.test_arguments import KEYS

    with pytest.raises(SystemExit) as ended:
        launch.launch("grpo", ["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for key in [*KEYS, "learning_rate", "duration_weighting", "lora_r"]:
        assert f"--{key}" in text
    assert "quickstart/grpo" in text


@pytest.mark.slow
def test_a_script_trains_through_the_launcher(tmp_path):
    task = toy_task(tmp_path)
    flags = [
        *("--accelerate_config", "cpu", "--tasks", task.folder, "--output_dir", "policy", "--max_steps", "1"),
        *("--per_device_train_batch_size", "2", "--use_cpu", "true", "--bf16", "false", "--report_to", "none"),
        *("--save_strategy", "no", "--logging_steps", "1", "--gradient_checkpointing", "false"),
        *("--hidden_size", "32", "--num_layers", "1", "--vocab_size", "600", "--num_demonstrations", "4"),
    ]
    result = trl_mle("sft", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "policy/sft.json").read_text())["steps"] == 1
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["step", "Trained"]
    assert result.stderr == ""


def test_a_script_says_what_is_wrong_through_the_launcher(tmp_path):
    task = toy_task(tmp_path)
    wrong = trl_mle("sft", "--accelerate_config", "cpu", "--tasks", task.folder, "--bug_share", "2", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr == "error: `bug_share` is 2.0; it must be at least 0 and less than 1.\n"


def test_the_quickstart_stops_at_the_first_script_that_fails(monkeypatch, capsys):
    commands = []

    class Script(subprocess.Popen):
        def __init__(self, command, env):
            commands.append(command)
            assert env["OMP_NUM_THREADS"] == "3", "the user's own"
            super().__init__([sys.executable, "-c", f"raise SystemExit({codes.pop(0)})"])

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(quickstart.subprocess, "Popen", Script)
    codes = [0, 0]
    assert quickstart.quickstart(["--max_steps", "2"]) == 0
    assert [command[2:] for command in commands] == [
        ["trl_mle.scripts.sft", "--config", "quickstart/sft"],
        ["trl_mle.scripts.grpo", "--config", "quickstart/grpo", "--max_steps", "2"],
    ]
    commands.clear()
    codes = [2, 0]
    assert quickstart.quickstart() == 2
    assert len(commands) == 1
    assert [line[:7] for line in capsys.readouterr().out.splitlines()] == ["1 of 2:", "2 of 2:", "1 of 2:"]


SLOW_SCRIPT = """
import sys, time
try:
    print("started", flush=True)  # inside: the signal may come before the next line runs
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(1)
    print("report written", flush=True)
    sys.exit(130)
"""


def test_after_ctrl_c_the_quickstart_waits_for_the_report():
    code = f"import sys; from trl_mle.scripts.quickstart import _run; sys.exit(_run([sys.executable, '-c', {SLOW_SCRIPT!r}]))"
    command = [sys.executable, "-c", code]
    # A shell that starts the tests in the background has SIGINT ignored, and children inherit that.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heard
    ) as process:
        assert process.stdout.readline() == "started\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.stdout.read() == "report written\n"
        assert process.wait(timeout=240) == 130


def test_what_fails_after_training_is_an_error_message(capsys):
    after = AfterTraining()
    with after.step("The model card", ""):
        pass
    assert after.exit_code == 0
    with after.step("The report", "Try again."):
        raise RuntimeError("no space left")
    assert after.exit_code == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "error: The report failed: no space left. Try again." in shown
    with pytest.raises(KeyboardInterrupt), after.step("The report", ""):
        raise KeyboardInterrupt


def test_a_user_error_after_training_has_no_traceback(capsys):
    after = AfterTraining()
    with after.step("The report", "Try again."):
        raise ConfigError("`tasks` is wrong. Write another.")
    assert capsys.readouterr().err == "error: The report failed: `tasks` is wrong. Write another. Try again.\n"
    assert after.exit_code == 1


@pytest.mark.parametrize("hidden", [None, True])
def test_bars_of_downloads_stay_as_they_are(hidden, monkeypatch, recwarn):
    """The variable HF_HUB_DISABLE_PROGRESS_BARS hides them for good, and showing them again would warn."""
    import datasets
    import transformers.utils.logging as transformers_logging

    bars = import_module("huggingface_hub.utils.tqdm")  # `huggingface_hub.utils.tqdm` is the class
    monkeypatch.setattr(bars, "HF_HUB_DISABLE_PROGRESS_BARS", hidden)
    try:
        hide_bars()
        assert bars.are_progress_bars_disabled() == bool(hidden)
        assert not recwarn.list
    finally:
        datasets.enable_progress_bars()
        transformers_logging.enable_progress_bar()


def test_threads_of_the_warm_start_sleep_before_torch_is_loaded(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    seen = []

    def count_gpus(flags):  # imports torch, if there are no options
        seen.append(os.environ.get("OMP_WAIT_POLICY"))
        raise ConfigError("enough")

    monkeypatch.setattr(launch, "default_launcher_options", count_gpus)
    for script in ("grpo", "sft"):
        with pytest.raises(ConfigError):
            launch.launch(script, [])
    assert seen == [None, "passive"]
