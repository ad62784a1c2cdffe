"""`E2BSandbox`: programs in sandboxes of E2B, a cloud of small virtual machines, or of a self-hosted E2B."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Hashable, Mapping
from dataclasses import asdict
from pathlib import Path

from trl_mle.config import E2BConfig
from trl_mle.errors import ConfigError, SandboxError, SandboxUnavailableError, missing_extra
from trl_mle.sandboxes.base import check_limits, default_limits
from trl_mle.sandboxes.e2b_cloud import bundle
from trl_mle.sandboxes.e2b_cloud.errors import KEY, BusyError, missing_key
from trl_mle.sandboxes.e2b_cloud.timing import E2BTiming
from trl_mle.sandboxes.e2b_cloud.vm import VM, longest_reply
from trl_mle.sandboxes.e2b_cloud.vm_pool import CLOSED, VMPool, finish
from trl_mle.sandboxes.isolation import Layer, describe, from_worker
from trl_mle.sandboxes.kept_files import check_files
from trl_mle.sandboxes.local.runner.protocol import ProgramFault, ProgramLimits, ProgramRequest, ProgramResult
from trl_mle.sandboxes.local.worker_process import killed_execution, to_execution
from trl_mle.sandboxes.public_files import size_of
from trl_mle.sandboxes.python_version import warn_of_version
from trl_mle.types import Execution, Limits, TaskSpec

_logger = logging.getLogger(__name__)


class E2BSandbox:
    """Runs programs in E2B sandboxes; see [`Sandbox`] for how to use it and `docs/e2b.md` for what it protects.

    Each E2B sandbox is a VM that runs the same code as `LocalSandbox`, so that status, limits, clocks and the environment of a
    program are the same. VMs are started on demand, at most `max_sandboxes` at the same time. They have no access to the
    internet, and get a task's public files once, never its answers. At the end all VMs are killed, and a search by metadata
    finds those whose creation was never confirmed.

    E2B's SDK reads the key of the account from the environment variable `E2B_API_KEY`. A program is given to a VM once. If
    that fails, the error says whether the program may have started, and whether E2B asked to wait.

    Args:
        config (`E2BConfig`, *optional*):
            All of the settings below, and a few more. Give either this or the keywords.
        template (`str`, *optional*):
            Name or id of the template. Defaults to E2B's code interpreter.
        max_sandboxes (`int`, *optional*, defaults to `20`):
            E2B sandboxes at the same time.
        reuse (`bool`, *optional*, defaults to `True`):
            Whether an E2B sandbox runs one program after the other.
        session_s (`float`, *optional*, defaults to `3600.0`):
            Seconds after which an E2B sandbox ends by itself.
        wall_s (`float`, *optional*):
            Wall-clock limit of a program in seconds. Defaults to the task's own.
        memory_bytes (`int`, *optional*):
            Limit of resident memory of a program in bytes. Defaults to the task's own.
        domain, api_url, sandbox_url (`str`, *optional*):
            Addresses of a self-hosted E2B.
        timing ([`E2BTiming`], *optional*):
            Durations that tests shorten.

    Example:

    ```python
    async with E2BSandbox(max_sandboxes=20) as sandbox:
        execution = await sandbox.run(code, task)
    ```
    """

    def __init__(
        self,
        config: E2BConfig | None = None,
        *,
        template: str | None = None,
        max_sandboxes: int = 20,
        reuse: bool = True,
        session_s: float = 3600.0,
        wall_s: float | None = None,
        memory_bytes: int | None = None,
        domain: str | None = None,
        api_url: str | None = None,
        sandbox_url: str | None = None,
        timing: E2BTiming = E2BTiming(),  # noqa: B008 - frozen
    ):
        keywords = E2BConfig(
            template=template,
            max_sandboxes=max_sandboxes,
            reuse=reuse,
            session_s=session_s,
            wall_s=wall_s,
            memory_bytes=memory_bytes,
            domain=domain,
            api_url=api_url,
            sandbox_url=sandbox_url,
        )
        if config is not None and keywords != E2BConfig():
            changed = {name: value for name, value in asdict(keywords).items() if value != getattr(E2BConfig(), name)}
            raise ConfigError(f"`config` and the keywords {changed} were both given; put the values into `E2BConfig`.")
        self.config = keywords if config is None else config
        self._timing = timing
        self.layers: tuple[Layer, ...] = ()
        """Layers of isolation inside the E2B sandboxes, known once the first one is prepared."""
        self.speed_factors: dict[str, float] = {}
        """Id of each E2B sandbox that was prepared -> how fast a fixed loop ran there; above 1 is faster than usual."""
        self._without: tuple[str, ...] = ()
        """Layers that VMs treat as missing, for tests of the fallbacks."""
        self._vms: VMPool
        self._slots: asyncio.Semaphore
        self._loop: asyncio.AbstractEventLoop | None = None
        self._packing: asyncio.Lock
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        """Where archives of public files are kept for the next E2B sandbox."""
        self._warned: set[str] = set()
        self._python = ""
        """Version of Python of the E2B sandbox that was prepared last."""

    @property
    def workers(self) -> int:
        """Programs that can run at the same time now: `max_sandboxes`, or fewer if the account has refused more VMs."""
        return self.config.max_sandboxes if self._loop is None else self._vms.capacity

    def describe(self) -> str:
        """The layers of isolation inside the E2B sandboxes as a table in text, or that they are not known yet."""
        return describe(self.layers)

    async def __aenter__(self) -> E2BSandbox:
        if self._loop is not None:
            raise SandboxUnavailableError("This `E2BSandbox` is running already; start it once.")
        try:
            import e2b_code_interpreter  # noqa: F401 - asked for now, used when the first program comes
        except ImportError as error:
            raise missing_extra("e2b-code-interpreter", "e2b") from error
        if not os.environ.get(KEY):
            raise missing_key()
        self._loop = asyncio.get_running_loop()
        self._vms = VMPool(self.config, self._check_vm, self._without, self._timing)
        self._slots = asyncio.Semaphore(self.config.max_sandboxes)
        self._packing = asyncio.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="trl-mle-e2b-")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._loop is None:
            return
        self._loop = None
        try:
            await finish(self._vms.end())
        finally:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def limits_for(self, task: TaskSpec) -> Limits:
        """The limits of a program of `task` if the caller gives none."""
        return default_limits(task, self.config.wall_s, self.config.memory_bytes)

    def overhead_s(self, task: TaskSpec, limits: Limits) -> float:
        """Sum of the time-outs of all steps of a program except its execution, from the start of a VM to the reply."""
        public_bytes = size_of(task.public_dir)
        sent_bytes = public_bytes + limits.keep_bytes
        return self._timing.overhead_s(self.config.request_timeout_s, sent_bytes, public_bytes, longest_reply(limits))

    async def run(
        self,
        code: str,
        task: TaskSpec,
        limits: Limits | None = None,
        *,
        source: str | None = None,
        group: Hashable = None,
        files: Mapping[str, bytes] | None = None,
    ) -> Execution:
        """Run `code` with the task's public files under `./input/` and return what happened.

        The call waits for a free E2B sandbox. That time does not count as time of the execution. If the call is cancelled,
        the E2B sandbox of the program is killed before it returns.

        Raises:
            ConfigError: `limits` or `files` are out of bounds.
            SandboxUnavailableError: the sandbox is not started, E2B refuses the key or the template, or the template lacks
                what the task needs.
            SandboxError: E2B failed; nothing is known about the program. `may_have_started` says whether it may have run.
        """
        self._check_running()
        limits = limits or self.limits_for(task)
        check_limits(limits)
        kept = check_files(files, limits)
        self._check_session(limits)
        async with self._slots:
            key, archive = await self._public(task)
            vm = await self._vms.take(key, limits.wall_s)
            keep = False
            try:
                await vm.give(key, archive)
                self._warn_of_memory(vm, task, limits)
                program_limits = ProgramLimits(**asdict(limits))
                request = ProgramRequest(code, code if source is None else source, "", program_limits, kept)
                began = time.monotonic()
                reply = await vm.run(tuple(task.packages), request, key)
                keep = isinstance(reply, ProgramResult) or reply.lasting
            except SandboxError as error:
                # E2B asked to wait before anything began, so the VM is unchanged. After any other fault its state is unknown.
                keep = isinstance(error, BusyError) and not error.may_have_started
                raise
            finally:
                await self._vms.give_back(vm, keep)
        if isinstance(reply, ProgramFault):
            # As in `LocalSandbox`: as a fault, the program would escape its penalty.
            if reply.process_died and reply.may_have_started and not vm.layers.signals:
                return killed_execution(reply.reason, time.monotonic() - began, limits, reply.cpu_s or None)
            raise self._error(reply, task)
        return to_execution(reply)

    def take_metrics(self) -> dict[str, float]:
        """Metric -> value: E2B sandboxes now, programs that can run at a time, speed factors of the slowest and the fastest."""
        speeds = [] if self._loop is None else self._vms.speeds
        return {
            "sandbox/nodes": float(len(speeds)),
            "sandbox/workers": float(self.workers),
            "sandbox/speed_min": min(speeds, default=0.0),
            "sandbox/speed_max": max(speeds, default=0.0),
        }

    async def _public(self, task: TaskSpec) -> tuple[str, Path]:
        """The key of the task's public files, which changes with their content, and an archive of them."""
        key = await asyncio.to_thread(bundle.key, task.public_dir)
        async with self._packing:
            if self._folder is None:
                raise SandboxError(CLOSED, may_have_started=False)
            archive = Path(self._folder.name, f"{key}.tar.gz")
            if not archive.exists():
                await asyncio.to_thread(bundle.pack, task.public_dir, archive)
        return key, archive

    def _check_running(self) -> None:
        if self._loop is None:
            raise SandboxUnavailableError("This `E2BSandbox` is not running; use `async with sandbox:` around it.")
        if self._loop is not asyncio.get_running_loop():
            raise SandboxUnavailableError("This `E2BSandbox` was started in another event loop; use that one.")

    def _check_session(self, limits: Limits) -> None:
        if limits.wall_s + self._timing.margin_s > self.config.session_s:
            raise SandboxUnavailableError(
                f"`session_s`={self.config.session_s:g} is too short for programs with `wall_s`={limits.wall_s:g}; make it at "
                f"least {limits.wall_s + self._timing.margin_s:g}, or the programs shorter."
            )

    def _check_vm(self, vm: VM) -> None:
        self.speed_factors[vm.id] = vm.speed_factor
        if vm.python != self._python:
            self._python = vm.python
            fix = "Use a template that has it (`E2BConfig.template` and `E2BConfig.python`), or train with that of the template."
            warn_of_version(_logger, vm.python, "The template", fix)
        layers = from_worker(vm.layers)
        if self.layers != layers:
            self.layers = layers
            for layer in layers:
                if not layer.active:
                    _logger.warning("E2B sandboxes lack the layer %s: %s", layer.name, layer.without)
        if self.config.isolation == "required" and any(layer.required and not layer.active for layer in layers):
            raise SandboxUnavailableError(
                "Programs could change what is reported about them: inside the E2B sandbox there is neither a private root "
                "nor Landlock. Run as root (`user`), use a template with a newer kernel, or set `isolation` to 'none' in "
                "`E2BConfig` for programs that you trust."
            )

    def _warn_of_memory(self, vm: VM, task: TaskSpec, limits: Limits) -> None:
        usable_bytes = vm.usable_bytes(limits.memory_bytes)
        if usable_bytes < limits.memory_bytes and task.id not in self._warned:
            self._warned.add(task.id)
            _logger.warning(
                "The E2B sandboxes have %d MiB of memory, so that programs for %s are stopped at %d MiB instead of %d. Use a "
                "template with more.",
                *(vm.memory_bytes >> 20, task.id, usable_bytes >> 20, limits.memory_bytes >> 20),
            )

    def _error(self, fault: ProgramFault, task: TaskSpec) -> SandboxError:
        if fault.lasting:
            template = "E2B's code interpreter" if self.config.template is None else repr(self.config.template)
            return SandboxUnavailableError(
                f"Task {task.id!r} cannot run with the template {template}: {fault.reason}."
            )
        return SandboxError(fault.reason, may_have_started=fault.may_have_started)
