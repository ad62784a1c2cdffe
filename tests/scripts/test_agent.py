"""Agents through the scripts: demonstrations that were run, training, resume, and settings that do not go together."""

from __future__ import annotations

import ast
import asyncio
import json
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest
import yaml
from transformers import AutoTokenizer

from tests.support.sandbox_doubles import Scripted
from tests.support.tasks import toy_task
from tests.support.tiny import tiny_tokenizer
from trl_mle.demo.episodes import DemoAgent, first_choices
from trl_mle.demo.tiny_policy import build_tokenizer
from trl_mle.environments import MLESpec, read_turns
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError
from trl_mle.evaluation.agent_turns import programs_of
from trl_mle.outcomes import RunColumn, read_rollouts
from trl_mle.scripts import grpo, quickstart, sft
from trl_mle.scripts.agent import agent_source, check_agent
from trl_mle.scripts.agent_demonstrations import AgentArguments, run_episode
from trl_mle.scripts.arguments import MLEArguments
from trl_mle.scripts.demonstrations import DemonstrationArguments, has_turns, load_demonstrations, texts_of
from trl_mle.scripts.model_card import policy_sections
from trl_mle.scripts.settings import RECIPES, recipe_names

CPU = ("--use_cpu", "true", "--bf16", "false", "--report_to", "none", "--gradient_checkpointing", "false")


def recipe(name):
    return yaml.safe_load((RECIPES / name).read_text())


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return toy_task(tmp_path_factory.mktemp("task"))


@pytest.fixture(scope="module")
def demonstrations(task, tmp_path_factory):
    """Arguments, folder, and two answers and two episodes, whose programs were run."""
    folder = tmp_path_factory.mktemp("demonstrations")
    arguments = DemonstrationArguments(
        tasks=[str(task.folder)],
        num_demonstrations=4,
        agent_turns=2,
        agent_share=0.5,
        agent_first_programs=2,
        agent_observation_characters=500,
        sandbox_workers=1,
    )
    return arguments, folder, load_demonstrations(arguments, folder)


def test_episodes_are_what_the_environment_answered(demonstrations):
    _, _, dataset = demonstrations
    episodes = [row for row in dataset if row["tools"] is not None]
    assert len(dataset) == 4
    assert len(episodes) == 2
    assert has_turns(dataset)
    for row in episodes:
        messages = row["completion"]
        assert [message["role"] for message in messages[:2]] == ["assistant", "tool"]
        assert messages[-1] == {"role": "assistant", "content": ""}
        runs = [message for message in messages if message.get("name") == "run_program"]
        assert 1 <= len(runs) <= 2
        assert all("It ran" in message["content"] for message in runs)
        assert "At most 2 programs may be run" in row["prompt"][1]["content"]
        names = [tool["function"]["name"] for tool in json.loads(row["tools"])]
        assert names == ["run_program", "submit"]


def test_no_number_of_an_observation_is_learned_as_a_token(demonstrations):
    *_, dataset = demonstrations
    texts = list(texts_of(dataset))
    assert any(text.endswith("s of at most ") for text in texts)
    assert any(text.startswith("import pandas as pd\n") and text.endswith("index=False)\n") for text in texts)


def test_the_same_settings_give_the_same_rows_and_run_nothing(demonstrations, monkeypatch):
    arguments, folder, dataset = demonstrations

    async def run(*_, **__):
        raise AssertionError("a program that is known was run again")

    monkeypatch.setattr("trl_mle.sandboxes.SandboxPool.run", run)
    assert load_demonstrations(arguments, folder).to_list() == dataset.to_list()


@pytest.mark.parametrize("fault", [SandboxError("the node is gone"), SandboxUnavailableError("no namespaces here")])
def test_a_fault_ends_the_demonstrations_and_says_what_it_is(task, fault):
    spec = MLESpec(task, sandbox=Scripted(fault))
    agent = DemoAgent(task, first_choices([task], 1, 1, 0, 0.0)[0], Random(0), 0.0)
    with pytest.raises(type(fault), match=str(fault)):
        asyncio.run(run_episode(agent, spec.environment_factory(), task.id, 2))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"agent_turns": -1}, "`agent_turns` is -1"),
        ({"agent_first_programs": 0}, "`agent_first_programs` is 0"),
        ({"agent_share": 0}, "`agent_share` is 0"),
    ],
)
def test_numbers_out_of_range_are_named(settings, words):
    with pytest.raises(ConfigError, match=words):
        AgentArguments(**settings)


def test_all_turns_of_a_users_conversations_are_learned(tmp_path):
    call = {"type": "function", "function": {"name": "run_program", "arguments": {"code": "x = 1"}}}
    turns = [
        {"role": "user", "content": "do"},
        {"role": "assistant", "content": "first", "tool_calls": [call]},
        {"role": "tool", "name": "run_program", "content": "It failed."},
        {"role": "assistant", "content": "last"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"messages": turns, "tools": "[]", "source": "me"}))
    dataset = load_demonstrations(DemonstrationArguments(demonstrations=str(path)))
    assert set(dataset.column_names) == {"prompt", "completion", "tools"}
    assert [message["content"] for message in dataset[0]["prompt"]] == ["do"]
    assert [message["content"] for message in dataset[0]["completion"]] == ["first", "It failed.", "last"]
    assert has_turns(dataset)


@pytest.mark.parametrize("arguments", [{"code": "x = 1"}, '{"code": "x = 1"}'])
def test_calls_without_content_and_with_arguments_as_text(arguments):
    call = {"type": "function", "function": {"name": "run_program", "arguments": arguments}}
    messages = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "It took 3 s."}]
    rows = [{"prompt": "do", "completion": messages}]
    if isinstance(arguments, dict):
        assert list(texts_of(rows)) == ["do", "x = 1\n", "It took ", " s."]
    else:
        with pytest.raises(ConfigError, match="Give an object with one value per argument"):
            list(texts_of(rows))


def test_generated_demonstrations_alone_take_agent_turns():
    with pytest.raises(ConfigError, match=r"`agent_turns` is 2, but `demonstrations` is 'mine\.jsonl'"):
        DemonstrationArguments(demonstrations="mine.jsonl", agent_turns=2)


def arguments(**settings):
    return MLEArguments(tasks=["builtin:digits"], agent_turns=2, **settings)


def training(**settings):
    return SimpleNamespace(**{"overlap_execution": False, "tool_timeout_s": None, **settings})


@pytest.mark.parametrize(
    ("settings", "trainer", "name"),
    [
        ({"improve_fraction": 0.5}, {}, "improve_fraction"),
        ({"debug_fraction": 0.5}, {}, "debug_fraction"),
        ({"task_curriculum": "learnability"}, {}, "task_curriculum"),
        ({"reward_aggregation": "gain"}, {}, "reward_aggregation"),
        ({}, {"overlap_execution": True}, "overlap_execution"),
        ({}, {"tool_timeout_s": 5.0}, "tool_timeout_s"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings, trainer, name):
    with pytest.raises(ConfigError, match=f"`{name}` is .*`agent_turns` is 2"):
        check_agent(arguments(**settings), training(**trainer))


def test_settings_that_go_together_are_taken():
    for aggregation in (None, "sum", "parts", "rank"):
        check_agent(arguments(reward_aggregation=aggregation), training())
    check_agent(MLEArguments(tasks=["builtin:digits"], improve_fraction=0.5), training(overlap_execution=True))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"agent_turns": -1}, "`agent_turns` is -1"),
        ({"agent_turns": 1, "agent_seconds": 0.0}, "`agent_seconds` is 0.0"),
        ({"agent_keep_mib": float("nan")}, "`agent_keep_mib` is nan"),
        ({"agent_observation_characters": 20}, "`agent_observation_characters` is 20"),
    ],
)
def test_a_budget_out_of_range_is_named_by_its_key(settings, words):
    with pytest.raises(ConfigError, match=words):
        MLEArguments(tasks=["builtin:digits"], **settings)


def test_a_policy_that_cannot_call_tools_is_refused_with_what_to_use():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    with pytest.raises(ConfigError, match=r"does not render tool calls.*quickstart/sft-agent"):
        agent_source(arguments(), training(), SimpleNamespace(tokenizer=tokenizer))


def test_recipes_of_the_quickstart_agent_fit_together():
    agent, warm = recipe("quickstart/agent.yaml"), recipe("quickstart/sft-agent.yaml")
    assert agent["model_name_or_path"] == warm["output_dir"]
    assert set(agent["tasks"]) <= set(warm["tasks"])
    for name in ("program_time_limit_s", "agent_turns", "agent_observation_characters"):
        assert agent[name] == warm[name], name
    assert agent["agent_keep_mib"] == 0, "demonstrations keep no files, and prompts say whether a run does"
    assert {"quickstart/agent", "qwen3-4b/agent"} <= set(recipe_names("grpo"))
    assert "quickstart/sft-agent" in recipe_names("sft")


def test_the_quickstart_runs_the_recipes_of_an_agent(monkeypatch):
    commands = []
    monkeypatch.setattr(quickstart, "_run", lambda command: commands.append(command[2:]) or 0)
    assert quickstart.quickstart(["--agent", "--max_steps", "2"]) == 0
    assert commands == [
        ["trl_mle.scripts.sft", "--config", "quickstart/sft-agent"],
        ["trl_mle.scripts.grpo", "--config", "quickstart/agent", "--max_steps", "2"],
    ]


def train_agent(task, policy, run, *more):
    flags = [
        *("--tasks", task.folder, "--model_name_or_path", policy, "--output_dir", run, "--agent_turns", 2),
        *(
            "--agent_observation_characters",
            500,
            "--agent_keep_mib",
            0,
            "--num_generations",
            4,
            "--per_device_train_batch_size",
            4,
        ),
        *("--max_completion_length", 700, "--reward_aggregation", "parts", "--sandbox_workers", 1),
        *("--save_steps", 1, "--logging_steps", 1, "--seed", 1),
    ]
    return grpo.main([*map(str, flags), *CPU, *map(str, more)])


@pytest.mark.parametrize("limit_s", [None, 7.0])
def test_the_card_of_an_agent_shows_its_prompt_and_a_program_that_uses_its_tools(task, limit_s):
    settings = MLEArguments(tasks=[str(task.folder)], agent_turns=2, program_time_limit_s=limit_s)
    run = SimpleNamespace(
        hub_model_id="me/agent", output_dir="runs/x", max_completion_length=256, max_tool_calling_iterations=3
    )
    tasks = {str(task.folder): task if limit_s is None else replace(task, time_limit_s=limit_s)}
    section = policy_sections(settings, run, SimpleNamespace(model_name_or_path="base"), tasks)["Quick start"]
    example = section.partition("```python\n")[2].partition("```")[0]
    ast.parse(example)
    assert "EpisodeBudget(runs=2, seconds=None, observation_characters=2000" in example
    assert "for _ in range(4)" in example
    assert ("time_limit_s=7)" in example) == (limit_s is not None)
    assert f"for {2 * (limit_s or 20):g} s in all" in section


# The whole way takes half a minute: two trainings, and programs of a policy that has learned to call tools.
@pytest.mark.slow
def test_an_agent_learns_from_demonstrations_trains_and_resumes(task, tmp_path, capsys):
    policy, run = tmp_path / "policy", tmp_path / "run"
    flags = [
        *("--output_dir", policy, "--tasks", task.folder, "--num_demonstrations", 64, "--agent_turns", 2),
        *("--agent_first_programs", 4, "--agent_observation_characters", 500, "--sandbox_workers", 1),
        *("--per_device_train_batch_size", 4, "--num_train_epochs", 8, "--learning_rate", 5e-3, "--hidden_size", 64),
        *("--num_layers", 2, "--vocab_size", 1500, "--max_length", 1536, "--save_strategy", "no"),
    ]
    assert sft.main([*map(str, flags), *CPU]) == 0
    assert AutoTokenizer.from_pretrained(policy).response_template is not None
    assert train_agent(task, policy, run, "--max_steps", 1) == 0
    assert train_agent(task, policy, run, "--max_steps", 2, "--resume_from_checkpoint", "true") == 0
    shown = capsys.readouterr().out
    assert "Turns of the agent" in shown
    rollouts = read_rollouts(run)
    assert len(rollouts) == 8
    programs = [programs_of(read_turns(text)) for text in rollouts[RunColumn.TURNS]]
    assert max(map(len, programs)) == 2, "no rollout ran two programs: the policy has not learned to call tools"
    assert [len(each) for each in programs] == rollouts[RunColumn.PROGRAMS_RUN].tolist()
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["mle"]["agent_turns"] == 2
    assert settings["training"]["max_tool_calling_iterations"] == 3
    _, fence, example = (run / "README.md").read_text().partition("```python\n")
    assert fence
    exec(compile(example.partition("```")[0], "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith(("valid", "failure"))


def test_the_tokenizer_of_episodes_writes_their_calls_in_few_tokens(demonstrations):
    *_, dataset = demonstrations
    tokenizer = build_tokenizer(texts_of(dataset), 1500, tool_calls=has_turns(dataset))
    row = next(row for row in dataset if row["tools"] is not None)
    text = tokenizer.apply_chat_template(row["prompt"] + row["completion"][:1], tokenize=False)
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(ids) < len(text) / 8
