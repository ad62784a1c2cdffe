"""Keys of recipes come from the stages' configurations: name, type, default and help."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, get_type_hints

import pytest

from trl_mle.config import BackendConfig, Key
from trl_mle.errors import ConfigError
from trl_mle.sandboxes.backends import BACKENDS
from trl_mle.scripts import arguments
from trl_mle.scripts.arguments import STAGES, MLEArguments
from trl_mle.scripts.checks import check_output_dir

# What users have in YAML files: a key that is renamed or removed must be accepted with a warning.
KEYS = {
    "tasks": (list[str], list),
    "sandbox_backend": (str, "local"),
    "sandbox_workers": (int | None, None),
    "sandbox_scratch_dir": (str | None, None),
    "sandbox_isolation": (str, "required"),
    "sandbox_queue_s": (float | None, None),
    "sandbox_outage_s": (float, 600.0),
    "sandbox_progress": (str, "auto"),
    "ray_address": (str | None, None),
    "ray_cpus_per_worker": (float | None, None),
    "ray_memory_gib_per_worker": (float | None, None),
    "ray_share": (float | None, None),
    "e2b_template": (str | None, None),
    "e2b_max_sandboxes": (int, 20),
    "e2b_reuse": (bool, True),
    "e2b_session_s": (float, 3600.0),
    "program_time_limit_s": (float | None, None),
    "instrumenter": (str, "ast"),
    "instrumenter_endpoint": (str | None, None),
    "instrumenter_model": (str, "Qwen/Qwen2.5-3B-Instruct"),
    "instrumenter_key_variable": (str, "OPENAI_API_KEY"),
    "instrumenter_answer_format": (str, "lines"),
    "instrumenter_concurrency": (int, 16),
    "instrumenter_request_timeout_s": (float, 60.0),
    "instrumenter_wait_s": (float, 120.0),
    "instrumenter_cache_dir": (str | None, None),
    "failure_reward": (float, -10.0),
    "milestone_reward": (float, 0.1),
    "reward_split": (str, "public"),
    "infrastructure_retries": (int, 2),
    "program_early_exit": (float, 0.0),
    "reward_aggregation": (str | None, None),
    "improve_fraction": (float, 0.0),
    "debug_fraction": (float, 0.0),
    "parent_strategy": (str, "score_weighted"),
    "max_prompt_tokens": (int, 1024),
    "retrieved_examples": (int, 0),
    "retrieved_form": (str, "plan"),
    "retrieved_tasks": (list[str] | None, None),
    "experience_path": (str | None, None),
    "experience_from": (str | None, None),
    "task_curriculum": (str, "uniform"),
    "task_weights": (list[float] | None, None),
    "task_floor": (float, 0.25),
    "task_half_life": (float, 64.0),
    "validate_tasks": (bool, True),
    "agent_turns": (int, 0),
    "agent_seconds": (float | None, None),
    "agent_observation_characters": (int, 2000),
    "agent_keep_mib": (float, 8.0),
    "agent_public_score": (bool, False),
}


def test_keys_types_and_defaults_are_those_that_users_have():
    types = get_type_hints(MLEArguments)
    found = {
        item.name: (types[item.name], item.default_factory if item.default is MISSING else item.default)
        for item in fields(MLEArguments)
    }
    assert found == KEYS


def test_every_key_has_a_help_text():
    for item in fields(MLEArguments):
        assert len(item.metadata["help"]) > 20, item.name


@pytest.mark.parametrize("config", STAGES)
def test_keys_name_fields_that_exist(config):
    assert set(config.KEYS) <= {item.name for item in fields(config)}


def test_values_reach_their_stages():
    chosen = MLEArguments(
        tasks=["builtin:digits"],
        sandbox_backend="ray",
        ray_memory_gib_per_worker=1.5,
        ray_share=0.5,
        infrastructure_retries=5,
        reward_split="all",
        instrumenter_wait_s=7.0,
    )
    backend = chosen.backend_config()
    assert (backend.memory_per_worker, backend.share) == (int(1.5 * 1024**3), 0.5)
    assert (chosen.pool_config().retries, chosen.reward_config().infrastructure_retries) == (5, 5)
    assert chosen.reward_config().reward_split == "all"
    assert chosen.instrumentation_config().wait_s == 7.0


@dataclass(frozen=True)
class MoonConfig(BackendConfig):
    """Programs on the moon.

    Args:
        rockets (`int`, *optional*, defaults to `3`):
            Programs in flight at the same time: 100% of
            the rockets.
        orbit_s (`float`, *optional*, defaults to `90.0`):
            Seconds.
    """

    CONCURRENCY: ClassVar[str] = "rockets"
    KEYS: ClassVar[dict[str, str | Key]] = {"rockets": "moon_rockets", "orbit_s": Key("moon_orbit_s", if_unset="long")}
    rockets: int = 3
    orbit_s: float = 90.0


def test_a_new_backend_gets_its_keys_from_its_configuration():
    name, type_, described = arguments._argument(MoonConfig, "rockets", Key("moon_rockets"))
    assert (name, type_, described.default) == ("moon_rockets", int, 3)
    assert described.metadata["help"] == "Programs in flight at the same time: 100%% of the rockets."
    _, type_, described = arguments._argument(MoonConfig, "orbit_s", MoonConfig.KEYS["orbit_s"])
    assert (type_, described.default) == (float | None, None)
    assert described.metadata["help"] == "Seconds. Defaults to long."
    assert MoonConfig(rockets=9).one_program_at_a_time() == MoonConfig(rockets=1)


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend_can_run_one_program_at_a_time(name):
    config = BACKENDS[name].config()
    assert getattr(config.one_program_at_a_time(), config.CONCURRENCY) == 1


@pytest.mark.parametrize("key", ["failure_reward", "milestone_reward", "sandbox_queue_s", "ray_memory_gib_per_worker"])
@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan")])
def test_a_number_that_is_too_large_is_named(key, value):
    with pytest.raises(ConfigError, match=key):
        MLEArguments(tasks=["builtin:digits"], **{key: value})


@pytest.mark.parametrize("path", ["", " ", ".", "..", "/", "a/..", "a\0b"])
def test_a_run_gets_a_folder_of_its_own(path):
    with pytest.raises(ConfigError, match=r"`output_dir` is .* Choose a folder"):
        check_output_dir(path, moved=True)
    check_output_dir("a/b", moved=True)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 10**400, 1e9])
def test_an_impossible_time_limit_is_named(seconds):
    with pytest.raises(ConfigError, match="program_time_limit_s"):
        MLEArguments(tasks=["builtin:digits"], program_time_limit_s=seconds)


def test_the_time_limit_is_the_tasks_and_no_backends(tmp_path):
    """One place: prompts state the limit and the sandbox enforces it, because both read the task."""
    from tests.support.tasks import toy_task
    from trl_mle.prompts import build_prompt
    from trl_mle.scripts.build import with_time_limit

    for backend in BACKENDS:
        chosen = MLEArguments(tasks=["builtin:digits"], sandbox_backend=backend, program_time_limit_s=7.0)
        assert chosen.backend_config().wall_s is None
    limited = with_time_limit({"toy": toy_task(tmp_path)}, 7.0)["toy"]
    assert limited.time_limit_s == 7.0
    assert "stopped after 7 s" in build_prompt(limited)[-1]["content"]
    assert with_time_limit({"toy": limited}, None) == {"toy": limited}
