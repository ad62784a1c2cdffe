"""What `E2BSandbox` relies on in E2B's SDK beyond its documentation. An upgrade of the SDK fails here as a readable list."""

from __future__ import annotations

import inspect

import pytest

pytest.importorskip("e2b_code_interpreter")

import e2b
from e2b import exceptions
from e2b_code_interpreter import AsyncSandbox


def parameters(function) -> set[str]:
    return set(inspect.signature(function).parameters)


# --- the account


@pytest.mark.parametrize(
    "name", ["template", "timeout", "metadata", "allow_internet_access", "idempotency_key", "opts"]
)
def test_parameters_of_a_new_sandbox(name):
    assert name in parameters(AsyncSandbox.create)


@pytest.mark.parametrize("name", ["domain", "api_url", "sandbox_url", "http_version", "request_timeout", "retries"])
def test_options_of_every_request(name):
    """An unknown option would be ignored in silence: `**opts` accepts everything."""
    from e2b.connection_config import ApiParams, ConnectionConfig

    assert name in ApiParams.__annotations__
    assert name in parameters(ConnectionConfig)


def test_the_key_comes_from_the_environment(monkeypatch):
    from e2b.connection_config import ConnectionConfig

    monkeypatch.setenv("E2B_API_KEY", "e2b_" + "0" * 40)
    assert ConnectionConfig().api_key == "e2b_" + "0" * 40


def test_sandboxes_can_be_listed_by_metadata():
    from e2b.sandbox_async.paginator import AsyncSandboxPaginator

    assert "metadata" in parameters(e2b.SandboxQuery)
    assert "query" in parameters(AsyncSandbox.list)
    assert isinstance(inspect.getattr_static(AsyncSandboxPaginator, "has_next"), property)
    assert inspect.iscoroutinefunction(AsyncSandboxPaginator.next_items)
    assert "sandbox_id" in e2b.SandboxInfo.__dataclass_fields__


def test_a_sandbox_can_be_killed_by_its_id():
    """The class variant of `kill` takes the id as its first argument."""
    from e2b.sandbox_async.sandbox_api import SandboxApi

    assert next(iter(inspect.signature(SandboxApi._cls_kill).parameters)) == "sandbox_id"
    assert isinstance(inspect.getattr_static(AsyncSandbox, "sandbox_id"), property)


# --- one sandbox


@pytest.mark.parametrize("name", ["cmd", "background", "user", "timeout", "request_timeout"])
def test_parameters_of_a_command(name):
    from e2b.sandbox_async.commands.command import Commands

    assert name in parameters(Commands.run)


def test_the_handle_of_a_command():
    from e2b import AsyncCommandHandle

    assert inspect.iscoroutinefunction(AsyncCommandHandle.wait)
    assert inspect.iscoroutinefunction(AsyncCommandHandle.disconnect)
    assert {"exit_code", "stderr", "stdout"} <= set(e2b.CommandResult.__dataclass_fields__)


def test_a_command_that_fails_raises_its_result():
    error = e2b.CommandExitException(stderr="words", stdout="", exit_code=3, error=None)
    assert (error.exit_code, error.stderr) == (3, "words")


def test_parameters_of_files():
    from e2b.sandbox_async.filesystem.filesystem import Filesystem

    assert {"path", "data", "user", "request_timeout"} <= parameters(Filesystem.write)
    assert {"path", "format", "user", "stream_idle_timeout"} <= parameters(Filesystem.read)
    assert "path" in e2b.WriteInfo.__dataclass_fields__, "the folder of the user is read from it"


def test_a_streamed_file_is_a_context_manager_and_an_iterator():
    from e2b.sandbox_async.filesystem.filesystem import AsyncFileStreamReader

    assert all(hasattr(AsyncFileStreamReader, name) for name in ("__aenter__", "__aexit__", "__aiter__", "__anext__"))


# --- errors


@pytest.mark.parametrize(
    ("name", "bases"),
    [
        ("AuthenticationException", (Exception,)),
        ("InvalidArgumentException", (exceptions.SandboxException,)),
        ("NotFoundException", (exceptions.SandboxException,)),
        ("RateLimitException", (exceptions.SandboxException,)),
        ("FileNotFoundException", (exceptions.NotFoundException,)),
        ("SandboxNotFoundException", (exceptions.NotFoundException,)),
        ("SandboxNotRunningException", (exceptions.TimeoutException,)),
        ("ServiceBusyException", (Exception,)),
    ],
)
def test_the_hierarchy_of_exceptions(name, bases):
    assert getattr(exceptions, name).__bases__ == bases


def test_a_sandbox_that_is_gone_and_a_file_that_is_missing_differ():
    assert not issubclass(exceptions.FileNotFoundException, exceptions.SandboxNotFoundException)
    assert not issubclass(exceptions.SandboxNotFoundException, exceptions.FileNotFoundException)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, "AuthenticationException"), (429, "RateLimitException"), (503, "ServiceBusyException"), (404, "SandboxException")],
)  # fmt: skip
def test_the_exception_of_a_status(status, error):
    from e2b.api import api_exception_from_code

    assert type(api_exception_from_code(status, "words")).__name__ == error


def test_exceptions_of_the_api_carry_the_status():
    from e2b.api import api_exception_from_code

    for status in (404, 503):
        assert getattr(api_exception_from_code(status, "words"), "status_code", None) == status


def test_the_frame_that_raises_holds_the_response():
    """`Retry-After` is read from it: locals `res` of the API's calls, `r` of the calls to a sandbox."""
    from e2b.sandbox_async.filesystem.filesystem import Filesystem
    from e2b.sandbox_async.paginator import AsyncSandboxPaginator
    from e2b.sandbox_async.sandbox_api import SandboxApi

    for function in (SandboxApi._create_sandbox, SandboxApi._cls_kill, AsyncSandboxPaginator.next_items):
        assert "res" in inspect.unwrap(function).__code__.co_varnames, function
    for function in (Filesystem.read, Filesystem.write_files):
        assert "r" in inspect.unwrap(function).__code__.co_varnames, function


def test_a_connection_that_could_not_be_made_is_the_builtin_error_itself():
    """`ConnectionResetError` and its kin come from connections that were made: the program may have started."""
    from e2b.envd import rpc

    assert OSError in rpc._TRANSPORT_ERRORS
    assert not any(error is ConnectionResetError for error in rpc._TRANSPORT_ERRORS)
