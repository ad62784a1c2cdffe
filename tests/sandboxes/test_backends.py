"""From flat settings to a sandbox: which backend, with what, behind which pool."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.support.tasks import toy_task
from trl_mle import E2BConfig, E2BSandbox, Limits, LocalSandbox, PoolConfig, RayConfig, SandboxConfig, SandboxPool
from trl_mle.errors import ConfigError
from trl_mle.sandboxes.backends import BACKENDS, make_sandbox
from trl_mle.sandboxes.base import Sandbox, default_limits
from trl_mle.scripts.arguments import MLEArguments

GIB = 1024**3


def arguments(**changes) -> MLEArguments:
    return MLEArguments(tasks=["builtin:digits"], **changes)


def test_local_is_the_default_and_the_pool_has_the_settings():
    settings = arguments(sandbox_workers=3, infrastructure_retries=1, sandbox_queue_s=60.0, sandbox_progress="off")
    pool = make_sandbox(settings.sandbox_backend, settings.backend_config([]), settings.pool_config())
    assert isinstance(pool, SandboxPool) and isinstance(pool.sandbox, LocalSandbox)
    assert pool.config == PoolConfig(retries=1, queue_s=60.0, progress="off")
    assert pool.workers == 3


def test_ray_reserves_what_the_tasks_need_and_shares_the_nodes(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    task = replace(toy_task(tmp_path), threads=2, memory_bytes=3 * GIB)
    settings = arguments(sandbox_backend="ray", ray_address="ray://head:10001")
    monkeypatch.setenv("WORLD_SIZE", "4")
    config = settings.backend_config([task, toy_task(tmp_path / "other")])
    assert config == RayConfig(address="ray://head:10001", cpus_per_worker=2.0, memory_per_worker=3 * GIB, share=0.25)
    own = replace(settings, sandbox_workers=8, ray_cpus_per_worker=0.5, ray_memory_gib_per_worker=1.5)
    config = own.backend_config([task])
    assert (config.workers, config.share, config.cpus_per_worker) == (8, 1.0, 0.5)
    assert config.memory_per_worker == int(1.5 * GIB)
    assert type(make_sandbox("ray", config).sandbox).__name__ == "RaySandbox"


def test_one_process_that_runs_all_programs_shares_with_nobody(tmp_path, monkeypatch):
    """Asynchronous rollouts, of which there is one process however many train."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    settings = arguments()
    for module in ("trl_mle.config.local", "trl_mle.sandboxes.local.sandbox"):
        monkeypatch.setattr(f"{module}.usable_cores", lambda: 32)
    assert LocalSandbox().workers == 8, "scripts that make their own sandbox"
    assert (settings.backend_config([]).workers, settings.backend_config([], alone=True).workers) == (8, 32)
    with_threads = [replace(toy_task(tmp_path), threads=4)]
    assert settings.backend_config(with_threads).workers == 2
    assert replace(settings, sandbox_workers=5).backend_config(with_threads).workers == 5
    on_ray = replace(settings, sandbox_backend="ray")
    assert (on_ray.backend_config([]).share, on_ray.backend_config([], alone=True).share) == (0.25, 1.0)


def test_an_unknown_backend_is_named():
    with pytest.raises(ConfigError, match="'moon'; choose 'local', 'ray' or 'e2b'"):
        make_sandbox("moon", SandboxConfig())
    with pytest.raises(ConfigError, match="'moon'; choose 'local', 'ray' or 'e2b'"):
        arguments(sandbox_backend="moon")


@pytest.mark.parametrize("name", [*BACKENDS, "pool"])
def test_every_backend_offers_the_whole_protocol(name):
    if name == "ray":
        pytest.importorskip("ray")
    sandbox_class = SandboxPool if name == "pool" else BACKENDS[name].load()
    members = {member for member in vars(Sandbox) if not member.startswith("_")} | {"__aenter__", "__aexit__"}
    sandbox = sandbox_class(LocalSandbox() if name == "pool" else BACKENDS[name].config())
    assert not {member for member in members if not hasattr(sandbox, member)}
    for method in ("run", "limits_for", "overhead_s", "take_metrics", "describe"):
        offered = inspect.signature(getattr(sandbox_class, method)).parameters
        asked = inspect.signature(getattr(Sandbox, method)).parameters
        assert [(p.name, p.kind, p.default) for p in offered.values()] == [
            (p.name, p.kind, p.default) for p in asked.values()
        ]
    assert isinstance(sandbox.workers, int)
    assert isinstance(sandbox.describe(), str)


def test_the_settings_of_a_backend_are_on_top_of_the_limits_of_the_task(tmp_path):
    task = toy_task(tmp_path)
    assert default_limits(task) == Limits.for_task(task)
    assert default_limits(task, 5.0, 10) == replace(Limits.for_task(task), wall_s=5.0, memory_bytes=10)
    local = LocalSandbox(SandboxConfig(wall_s=5.0))
    assert local.limits_for(task) == SandboxPool(local).limits_for(task) == default_limits(task, 5.0)
    assert E2BSandbox(E2BConfig(wall_s=5.0, memory_bytes=10)).limits_for(task) == default_limits(task, 5.0, 10)


def test_a_backend_is_loaded_on_first_use():
    script = (
        "import sys, trl_mle.sandboxes.backends as backends\n"
        "print([b.name for b in backends.BACKENDS.values() if b.module in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_of_another_backend_are_named():
    with pytest.raises(ConfigError, match="'ray' is a `SandboxConfig`; give a `RayConfig`"):
        make_sandbox("ray", SandboxConfig())


@pytest.mark.skipif(
    importlib.util.find_spec("trl_mle.sandboxes.e2b_cloud.sandbox") is None, reason="this version has no E2BSandbox"
)
def test_e2b_has_as_many_places_as_sandboxes(monkeypatch):
    monkeypatch.setenv("E2B_API_KEY", "e2b_" + "0" * 40)
    settings = arguments(
        sandbox_backend="e2b", e2b_max_sandboxes=7, e2b_template="mine", e2b_reuse=False, e2b_session_s=900.0
    )
    pool = make_sandbox("e2b", settings.backend_config([]), settings.pool_config())
    assert type(pool.sandbox).__name__ == "E2BSandbox"
    assert pool.workers == 7
    config = pool.sandbox.config
    assert (config.template, config.reuse, config.session_s) == ("mine", False, 900.0)
