"""What `RaySandbox` relies on in Ray beyond its documentation. An upgrade of Ray fails here as a readable list."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")


def test_errors_of_lost_nodes_are_no_task_errors():
    """`NodeHandle` keeps an actor after a `RayTaskError` and replaces it after any other `RayError`."""
    exceptions = ray.exceptions
    assert issubclass(exceptions.RayTaskError, exceptions.RayError)
    for name in ("RayActorError", "ActorDiedError", "ActorUnavailableError", "NodeDiedError", "RuntimeEnvSetupError"):
        error = getattr(exceptions, name)
        assert issubclass(error, exceptions.RayError), name
        assert not issubclass(error, exceptions.RayTaskError), name


def test_the_message_about_a_class_that_a_node_lacks():
    """`NodeHandle` looks for this text, because Ray has no exception class for it."""
    from ray._private import function_manager

    from trl_mle.sandboxes.ray_cluster.node_handle import _NOT_IMPORTED

    assert _NOT_IMPORTED in Path(function_manager.__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        *("num_cpus", "memory", "max_concurrency", "max_restarts", "max_task_retries"),
        *("scheduling_strategy", "runtime_env"),
    ],
)
def test_options_of_an_actor(name):
    from ray._common import ray_option_utils

    assert name in ray_option_utils.actor_options


def test_options_of_a_task():
    from ray._common import ray_option_utils

    assert {"num_cpus", "runtime_env"} <= set(ray_option_utils.task_options)


def test_an_actor_can_be_bound_to_a_node():
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    assert hasattr(ray.util, "scheduling_strategies"), "without an import of its own"
    assert list(inspect.signature(NodeAffinitySchedulingStrategy).parameters)[:2] == ["node_id", "soft"]


def test_free_resources_can_be_read_for_each_node():
    """The public `ray.available_resources` has only the sum over all nodes."""
    from ray._private.state import available_resources_per_node

    assert not inspect.signature(available_resources_per_node).parameters


def test_a_client_connection_can_be_told_from_a_direct_one():
    assert ray.util.client.ray.is_connected() is False


@pytest.mark.parametrize("name", ["address", "log_to_driver", "logging_level", "include_dashboard"])
def test_settings_of_a_connection(name):
    assert name in inspect.signature(ray.init).parameters


@pytest.mark.parametrize("name", ["is_initialized", "init", "shutdown", "nodes", "get", "put", "remote", "kill"])
def test_functions_of_the_module(name):
    assert callable(getattr(ray, name))


def test_a_reference_can_be_awaited():
    assert hasattr(ray.ObjectRef, "__await__")


def test_the_tests_can_start_and_kill_nodes_on_one_machine():
    from ray.cluster_utils import Cluster

    assert {"initialize_head", "head_node_args"} <= set(inspect.signature(Cluster).parameters)
    assert list(inspect.signature(Cluster.remove_node).parameters)[1:3] == ["node", "allow_graceful"]
    assert callable(ray.cloudpickle.dumps)
