"""Every shipped recipe parses, a run leaves its files, and an error of the user is one line that names value and fix."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.support.tasks import toy_task
from tests.support.tiny import tiny_model, tiny_tokenizer
from trl_mle.scripts.settings import RECIPES

ROOT = Path(__file__).parents[2]
GRPO_RECIPES = sorted([*RECIPES.glob("*/grpo*.yaml"), *RECIPES.glob("*/agent*.yaml")])
ASYNC_RECIPES = sorted(RECIPES.glob("*/async_grpo*.yaml"))
SFT_RECIPES = sorted(RECIPES.glob("*/sft*.yaml"))


def recipe(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"recipes/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def grpo():
    return recipe("grpo_mle")


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A very small random policy on disk."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    tokenizer.save_pretrained(folder)
    tiny_model().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("path", GRPO_RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_grpo_recipe_parses(path):
    from trl import ModelConfig, TrlParser

    from trl_mle import DurationAwareConfig
    from trl_mle.scripts.arguments import MLEArguments

    flags = ["--config", str(path), "--use_cpu", "true"]
    mle, training, model = TrlParser((MLEArguments, DurationAwareConfig, ModelConfig)).parse_args_and_config(flags)
    assert mle.tasks
    assert model.model_name_or_path
    assert training.duration_weighting == "proportional"
    assert path.read_text().startswith("#"), "a recipe opens with its purpose and command"


@pytest.mark.parametrize("path", ASYNC_RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_async_recipe_parses(path):
    mle, training, policy, tasks = recipe("async_grpo_mle").parse(["--config", str(path), "--use_cpu", "true"])
    assert list(tasks) == mle.tasks
    assert policy.model_name_or_path
    assert training.duration_weighting == "proportional"
    assert path.read_text().startswith("#"), "a recipe opens with its purpose and command"


@pytest.mark.parametrize("path", [*GRPO_RECIPES, *ASYNC_RECIPES], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_recipes_command_names_files_that_exist(path):
    command = path.read_text().split("\nmodel_name_or_path")[0]
    for name in re.findall(r"(?:accelerate_configs|recipes)/[\w./-]+", command):
        assert (ROOT / name).exists(), name
    assert f"recipes/{path.relative_to(RECIPES)}" in command


def test_lora_recipes_make_adapters_and_4_bits():
    from trl import ModelConfig, TrlParser, get_peft_config

    from trl_mle import DurationAwareConfig
    from trl_mle.scripts.arguments import MLEArguments

    for name in ("grpo-lora", "grpo-qlora"):
        flags = ["--config", str(ROOT / f"recipes/qwen2.5-3b-instruct/{name}.yaml"), "--use_cpu", "true"]
        _, _, model = TrlParser((MLEArguments, DurationAwareConfig, ModelConfig)).parse_args_and_config(flags)
        assert get_peft_config(model).r == 32
        assert model.load_in_4bit == (name == "grpo-qlora")  # the quantization itself needs a GPU


def test_the_papers_recipe_has_the_papers_settings():
    settings = yaml.safe_load((ROOT / "recipes/qwen2.5-3b-instruct/grpo.yaml").read_text())
    assert settings["learning_rate"] == 1e-5
    assert settings["max_completion_length"] == 1024
    assert settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] * 8 == 128
    assert (settings["failure_reward"], settings["milestone_reward"]) == (-10.0, 0.1)


@pytest.mark.parametrize("path", sorted(ROOT.glob("accelerate_configs/*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_every_launcher_configuration(path):
    from accelerate.commands.config.config_args import load_config_from_file

    assert load_config_from_file(str(path)).num_processes >= 1


CPU = ("--use_cpu", "true", "--bf16", "false")


def fails(grpo, capsys, *flags):
    with pytest.raises(SystemExit) as caught:
        grpo.main([*map(str, flags)])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    return shown.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tasks", "builtin:nothing"], ["builtin:nothing", "builtin:digits"]),
        (["--tasks", "no/such/folder"], ["no/such/folder"]),
        (["--tasks", "builtin:digits", "builtin:digits"], ["twice"]),
        ([], ["`tasks` is empty", "tasks: [builtin:digits]", "--config quickstart/grpo"]),
        (["--tasks", "builtin:digits", "--duration_weighting", "fast"], ["'fast'", "'none' or 'proportional'"]),
        (["--tasks", "builtin:digits", "--failure_reward", "0"], ["failure_reward", "Lower"]),
        (["--tasks", "builtin:digits", "--sandbox_backend", "moon"], ["'moon'", "'local', 'ray' or 'e2b'"]),
        (["--tasks", "builtin:digits", "--ray_address", "moon"], ["'moon'", "'ray://host:10001'"]),
        (["--tasks", "builtin:digits", "--sandbox_progress", "loud"], ["'loud'", "'auto'"]),
        (["--tasks", "builtin:digits", "--sandbox_isolation", "some"], ["'some'", "'required' or 'none'"]),
        (["--tasks", "builtin:digits", "--learning_rate", "quick"], ["learning_rate", "'quick'"]),
        (["--tasks", "builtin:digits", "--nonsense", "1"], ["`--nonsense` is not a flag of `trl-mle grpo`"]),
        (["--lerning_rate=1"], ["`--lerning_rate` is not a flag", "Did you mean `--learning_rate`?"]),
        (["--learning_rat=1"], ["`--learning_rat` is not a flag", "Did you mean `--learning_rate`?"]),
        (["--learning_rat", "1"], ["`--learning_rat` is not a flag", "Did you mean `--learning_rate`?"]),
        (
            ["--config", "missing.yaml"],
            ["missing.yaml", "No such file", "quickstart/agent, quickstart/grpo, qwen"],
        ),
        (["--config", "quickstart/nope"], ["quickstart/nope", "No such file", "quickstart/grpo"]),
        (["--tasks", "builtin:digits", "--num_generations", "5"], ["num_generations"]),
    ],
)
def test_wrong_settings_are_one_line(grpo, capsys, policy, tmp_path, flags, words):
    shown = fails(
        grpo,
        capsys,
        "--model_name_or_path",
        policy,
        "--output_dir",
        tmp_path / "run",
        "--use_cpu",
        "true",
        "--bf16",
        "false",
        *flags,
    )
    assert all(word in shown for word in words), shown


def test_a_missing_model_names_the_command_that_makes_it(grpo, capsys, tmp_path):
    flags = [
        "--tasks",
        "builtin:digits",
        "--model_name_or_path",
        tmp_path / "nothing",
        "--use_cpu",
        "true",
        "--bf16",
        "false",
    ]
    shown = fails(grpo, capsys, *flags)
    assert "there is no model" in shown
    assert "trl-mle sft --config quickstart/sft" in shown
    assert "`model_name_or_path` is not set" in fails(grpo, capsys, *flags[:2], *flags[4:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tasks: [builtin:digits\n", ["not valid YAML", "line"]),
        ("- a list\n", ["must contain a YAML mapping"]),
        (
            "tasks: [builtin:digits]\nlerning_rate: 1\n",
            ["`lerning_rate` is not a key", "Did you mean `learning_rate`?"],
        ),
    ],
)
def test_a_broken_yaml_file_is_one_line(grpo, capsys, tmp_path, policy, text, words):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    shown = fails(grpo, capsys, "--config", config, "--model_name_or_path", policy, *CPU)
    assert all(word in shown for word in words), shown


def test_a_wrong_metric_is_named(grpo, capsys, tmp_path, policy):
    task = toy_task(tmp_path)
    path = task.folder / "task.yaml"
    path.write_text(path.read_text().replace("rmse", "rsme"))
    shown = fails(grpo, capsys, "--tasks", task.folder, "--model_name_or_path", policy, *CPU)
    assert "rsme" in shown
    assert "rmse" in shown


def test_a_run_leaves_everything_on_disk_and_the_next_one_overwrites_nothing(
    grpo, capsys, monkeypatch, tmp_path, policy
):
    task = toy_task(tmp_path)
    flags = [
        *(
            "--tasks",
            task.folder,
            "--model_name_or_path",
            policy,
            "--output_dir",
            tmp_path / "run",
            "--use_cpu",
            "true",
        ),
        *("--bf16", "false", "--max_steps", "2", "--per_device_train_batch_size", "4", "--num_generations", "4"),
        *("--max_completion_length", "8", "--report_to", "none", "--save_strategy", "no", "--logging_steps", "1"),
        *("--gradient_checkpointing", "false", "--sandbox_workers", "1"),
    ]
    assert grpo.main([*map(str, flags)]) == 0
    run = tmp_path / "run"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["mle"]["tasks"] == [str(task.folder)]
    assert config["training"]["duration_weighting"] == "proportional"
    assert config["versions"]["trl"]
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps[:2] == [1, 2]
    assert len(list((run / "rollouts").glob("train_*.parquet"))) == 2
    for name in ("report.png", "summary.json", "README.md", "model.safetensors"):
        assert (run / name).exists()
    card = (run / "README.md").read_text()
    assert "time machine" not in card
    assert f'task = load_task("{task.folder}")' in card
    for words in ("toy", "a failed program: -10", "weighting: `proportional`", "2509.01684", "first fifth of the run"):
        assert words in card
    assert "first fifth" in capsys.readouterr().out

    def failing_report(trainer, run):
        raise OSError("no space left")

    monkeypatch.setattr("trl_mle.scripts.grpo.report", failing_report)
    shorter = [*map(str, flags), "--max_steps", "1", "--validate_tasks", "false"]
    assert grpo.main(shorter) == 1, "a report that fails loses no model, and shows in the exit code"
    assert "error: The report failed: no space left. `trl-mle report" in capsys.readouterr().err
    assert (run / "model.safetensors").exists() and (run / "README.md").exists()
    earlier = [path for path in tmp_path.iterdir() if path.name.startswith("run-")]
    assert len(earlier) == 1
    assert (earlier[0] / "metrics.jsonl").exists()


# By default, `test_launch.py` has a real process that ends with 2.
@pytest.mark.slow
def test_a_real_process_ends_with_2_and_no_traceback(tmp_path):
    command = [sys.executable, str(ROOT / "recipes/grpo_mle.py"), "--config", str(tmp_path / "none.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "none.yaml: No such file or directory" in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="says so where there is no CUDA device")
def test_the_async_recipe_names_what_it_needs(grpo, capsys, tmp_path, policy):
    config = ROOT / "recipes/qwen2.5-3b-instruct/async_grpo.yaml"
    flags = ["--config", config, "--model_name_or_path", policy, "--tasks", toy_task(tmp_path).folder, *CPU]
    shown = fails(recipe("async_grpo_mle"), capsys, *flags, "--output_dir", tmp_path / "run")
    assert "needs a CUDA device" in shown
    assert "overlap_execution" in shown
    assert not (tmp_path / "run").exists()


def test_every_yaml_file_is_a_recipe_that_a_test_parses():
    assert sorted(RECIPES.rglob("*.yaml")) == sorted(GRPO_RECIPES + ASYNC_RECIPES + SFT_RECIPES)


@pytest.mark.parametrize("path", SFT_RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sft_recipe_parses(path):
    demo, training, _ = recipe("sft_mle").parse(["--config", str(path)])
    assert demo.tasks
    assert training.output_dir
    following = {"sft.yaml": "grpo.yaml", "sft-agent.yaml": "agent.yaml"}[path.name]
    quickstart = yaml.safe_load((ROOT / "recipes/quickstart" / following).read_text())
    assert quickstart["model_name_or_path"] == training.output_dir
    assert quickstart["program_time_limit_s"] == demo.program_time_limit_s
    assert set(quickstart["tasks"]) <= set(demo.tasks)


def test_two_tasks_with_one_id_are_named(grpo, capsys, tmp_path, policy):
    first, second = toy_task(tmp_path / "a"), toy_task(tmp_path / "b")
    shown = fails(grpo, capsys, "--tasks", first.folder, second.folder, "--model_name_or_path", policy, *CPU)
    assert "the ids ['toy', 'toy']" in shown


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--resume_from_checkpoint", "true"], "has no checkpoint"),
        (["--resume_from_checkpoint", "nowhere/checkpoint-3"], "nowhere/checkpoint-3"),
        (["--use_vllm", "true"], "trl_mle[vllm]"),
        (["--model_name_or_path", "someone/nothing"], "someone/nothing"),
    ],
)
def test_what_a_run_needs_is_checked_before_it_starts(grpo, capsys, tmp_path, policy, flags, words):
    common = ["--tasks", "builtin:diabetes", "--model_name_or_path", policy, "--output_dir", tmp_path / "run", *CPU]
    with pytest.raises(SystemExit) as caught:
        grpo.main([*map(str, [*common, *flags])])
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown


def test_secrets_stay_out_of_the_configuration():
    from trl_mle.scripts.run_dir import _plain

    hidden = _plain({"model_init_kwargs": {"token": "hf_x"}, "hub_token": "hf_y", "max_tokens": 3, "api_key": None})
    assert hidden == {
        "model_init_kwargs": {"token": "<hidden>"}, "hub_token": "<hidden>", "max_tokens": 3, "api_key": None
    }  # fmt: skip
