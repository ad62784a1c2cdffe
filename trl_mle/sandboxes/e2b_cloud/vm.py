"""One VM of E2B: it is prepared, gets public files and runs programs."""

from __future__ import annotations

import asyncio
import secrets
import shlex
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from trl_mle.config import E2BConfig
from trl_mle.errors import SandboxError, SandboxUnavailableError
from trl_mle.sandboxes.e2b_cloud import bundle
from trl_mle.sandboxes.e2b_cloud.account import Account
from trl_mle.sandboxes.e2b_cloud.errors import RunnerError, VMGoneError, explained, without_key
from trl_mle.sandboxes.e2b_cloud.timing import SLOWEST_BYTES_PER_S, E2BTiming
from trl_mle.sandboxes.local.runner import frames
from trl_mle.sandboxes.local.runner.protocol import (
    GuestReady,
    GuestReply,
    GuestRequest,
    GuestSettings,
    Layers,
    ProgramFault,
    ProgramLimits,
    ProgramRequest,
    Reply,
    TaskFiles,
    WorkerUnusable,
)
from trl_mle.types import Limits

_READS = 3
"""Failed reads of a reply before it counts as lost."""
_SPARE_BYTES = 256 * 1024**2
"""Memory of a VM that programs cannot use: that of its kernel, its services and the worker."""
_TOO_OLD, _NOT_FOUND = 97, (126, 127)
_STDERR = 2000
_UNPACK = f"""\
import sys, zipfile
sys.version_info < (3, 11) and sys.exit({_TOO_OLD})
zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])
"""
_REFERENCE_S = 0.05
"""CPU seconds of the fixed loop on a VM whose speed factor is 1."""


class VM:
    """A VM that runs one program at a time; made by [`VM.create`].

    All files of this package lie in `folder`, which belongs to the user that runs the commands.
    """

    def __init__(self, sandbox: Any, config: E2BConfig, timing: E2BTiming, ends_at: float):
        self.id: str = sandbox.sandbox_id
        self.config = config
        self.timing = timing
        self.ends_at = ends_at
        """End of its session, on the clock of the event loop."""
        self.folder = ""
        self.layers = Layers()
        """The layers of isolation that its worker has found, once the VM is prepared."""
        self.is_prepared = False
        self.speed_factor = 1.0
        """Speed of a fixed loop on the VM, once it is prepared. Above 1 is faster than the reference."""
        self.memory_bytes = 0
        self.python = ""
        """Version of the programs' interpreter, once the VM is prepared."""
        self.uploaded: set[str] = set()
        """Keys of the public files that the VM has."""
        self._sandbox = sandbox

    @classmethod
    async def create(cls, account: Account, metadata: dict[str, str], name: str) -> VM:
        """Create a VM, which has to be prepared."""
        ends_at = asyncio.get_running_loop().time() + account.config.session_s
        return cls(await account.create(metadata, name), account.config, account.timing, ends_at)

    async def prepare(self, without: tuple[str, ...] = ()) -> None:
        """Upload the runner, start it and measure the VM.

        Args:
            without (`tuple[str, ...]`, *optional*): layers that are treated as missing; for tests.
        """
        with explained("uploading the runner"):
            info = await self._write("trl_mle/runner.zip", bundle.modules())
        self.folder = info.path.rpartition("/")[0]
        settings = GuestSettings(
            tuple(self.config.preload), tuple(without), self.timing.startup_s, self.config.session_s
        )
        unpack = shlex.join([self.config.python, "-c", _UNPACK, f"{self.folder}/runner.zip", self.folder])
        command = f"{unpack} && {self._guest('prepare', self.folder, frames.to_json(settings))}"
        ready = _guest_ready(
            await self._command(command, "preparing the sandbox", self.timing.startup_s + self.timing.answer_s)
        )
        answer = ready.answer
        if isinstance(answer, WorkerUnusable):
            raise SandboxUnavailableError(
                f"The template cannot import what `E2BConfig.preload` names: {answer.reason}. Install it there, or change "
                "`preload`."
            )
        if isinstance(answer, ProgramFault):
            raise SandboxError(f"preparing the sandbox failed: {answer.reason}", may_have_started=False)
        self.layers, self.memory_bytes, self.python = answer.layers, ready.memory_bytes, ready.python
        self.speed_factor = _REFERENCE_S / max(ready.loop_s, 1e-6)
        self.is_prepared = True

    async def give(self, key: str, archive: Path) -> None:
        """Upload the public files in `archive` unless the VM has them."""
        if key in self.uploaded:
            return
        size = archive.stat().st_size
        with explained("uploading the public files"), archive.open("rb") as file:
            await self._write(f"{self.folder}/{key}.tar.gz", file, size)
        command = self._guest("unpack", f"{self.folder}/{key}.tar.gz", self._public(key))
        await self._command(command, "unpacking the public files", self.timing.answer_s + size / SLOWEST_BYTES_PER_S)
        self.uploaded.add(key)

    async def run(self, packages: tuple[str, ...], request: ProgramRequest, key: str) -> Reply:
        """Run one program with the public files of `key`.

        Args:
            packages (`tuple[str, ...]`): distributions that the task allows.
            request (`ProgramRequest`): the program; the folder of its public files is filled in here.
            key (`str`): key of public files that `give` has uploaded.

        Raises:
            SandboxError: there is no reply. The VM cannot be used any more.
        """
        secret, run_folder = secrets.token_hex(16), f"{self.folder}/run-{secrets.token_hex(8)}"
        public = self._public(key)
        limits = replace(request.limits, memory_bytes=self.usable_bytes(request.limits.memory_bytes))
        wait_s = limits.wall_s + self.timing.answer_s
        message = GuestRequest(
            secret=secret,
            timeout_s=wait_s,
            files=TaskFiles(packages, hidden=(self.folder,), public=public),
            program=replace(request, limits=limits, public=public),
        )
        with explained("uploading the program"):
            frame = frames.pack(message)
            await self._write(f"{run_folder}/request", frame, len(frame))
        most = longest_reply(limits)
        deadline = time.monotonic() + wait_s + self.timing.answer_s / 2
        # Started in the background: a stream that breaks later must not look like a start that failed.
        with explained("starting the program", may_have_started=None):
            handle = await self._sandbox.commands.run(
                self._guest("run", self.folder, run_folder),
                background=True,
                user=self.config.user,
                timeout=wait_s + self.timing.answer_s / 2,
                request_timeout=self.config.request_timeout_s,
            )
        broken = await self._wait(handle, deadline)
        return await self._answer(f"{run_folder}/reply", secret, most, deadline, broken)

    def usable_bytes(self, memory_bytes: int) -> int:
        """The part of `memory_bytes` that a program can use here. Beyond it the kernel of the VM kills a process of its choice."""
        return min(memory_bytes, max(self.memory_bytes - _SPARE_BYTES, self.memory_bytes // 4))

    async def _wait(self, handle: Any, deadline: float) -> SandboxError | None:
        """Wait for the end of a command. Returns the error if only the stream broke, so that a reply may still come."""
        from e2b import CommandExitException

        try:
            with explained("waiting for the program", may_have_started=True):
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    try:
                        await handle.wait()
                    except CommandExitException as error:
                        raise RunnerError(
                            f"the runner ended with exit code {error.exit_code}: {_end(error)}"
                        ) from None
        except (VMGoneError, RunnerError):
            raise
        except SandboxError as error:  # the stream broke, but the command goes on in the VM and writes its reply
            return error
        finally:
            with suppress(Exception):
                async with asyncio.timeout(self.timing.spare_s):
                    await handle.disconnect()
        return None

    async def _answer(self, path: str, secret: str, most: int, deadline: float, broken: SandboxError | None) -> Reply:
        """Read the reply. If the stream of the command has `broken`, the program may still run: then poll until `deadline`."""
        failures = 0
        fetch_s = self.config.request_timeout_s + most / SLOWEST_BYTES_PER_S
        until = fetch_s + (time.monotonic() if broken is None else max(deadline, time.monotonic()))
        while True:
            try:
                content = await self._read(path, most, min(fetch_s, until - time.monotonic()))
                if content is not None:
                    return _parse(content, secret)
            except VMGoneError:
                raise
            except SandboxError:
                # A read may fail in passing, and the program cannot be run again: a few more tries save its result.
                failures += 1
                if failures == _READS or time.monotonic() > until:
                    raise
            else:
                if broken is None or time.monotonic() > deadline:
                    raise broken or SandboxError("the runner left no reply")
            await asyncio.sleep(self.timing.poll_s)

    async def _write(self, path: str, data: Any, size: int = 0) -> Any:
        # The SDK takes it for the whole transfer of what lies in memory.
        timeout_s = self.config.request_timeout_s + size / SLOWEST_BYTES_PER_S
        async with asyncio.timeout(timeout_s):
            return await self._sandbox.files.write(path, data, user=self.config.user, request_timeout=timeout_s)

    async def _read(self, path: str, most: int, timeout_s: float) -> bytes | None:
        """Content of a file, at most `most` bytes, or `None` if there is no such file."""
        from e2b import FileNotFoundException

        content = bytearray()
        with explained("fetching the reply", may_have_started=True):
            try:
                async with asyncio.timeout(max(0.0, timeout_s)):
                    stream = await self._sandbox.files.read(
                        path,
                        format="stream",
                        user=self.config.user,
                        stream_idle_timeout=self.config.request_timeout_s,
                    )
                    async with stream:
                        async for chunk in stream:
                            content += chunk
                            if len(content) > most:
                                raise SandboxError(f"the reply has more than {most} bytes")
            except FileNotFoundException:
                return None
        return bytes(content)

    async def _command(self, command: str, step: str, timeout_s: float) -> str:
        """Standard output of a short command of this package.

        Raises:
            SandboxUnavailableError: there is no suitable Python in the VM.
            SandboxError: the command or the VM failed.
        """
        from e2b import CommandExitException

        with explained(step):
            try:
                async with asyncio.timeout(timeout_s + self.timing.spare_s):
                    result = await self._sandbox.commands.run(command, user=self.config.user, timeout=timeout_s)
            except CommandExitException as error:
                if error.exit_code in (_TOO_OLD, *_NOT_FOUND):
                    raise SandboxUnavailableError(
                        f"The template has no Python 3.11 or newer named {self.config.python!r} ({_end(error)}); name another "
                        "one as `E2BConfig.python`."
                    ) from None
                message = f"{step} failed with exit code {error.exit_code}: {_end(error)}"
                raise SandboxError(message, may_have_started=False) from None
        return result.stdout

    def _public(self, key: str) -> str:
        return f"{self.folder}/{key}"

    def _guest(self, *arguments: str) -> str:
        """Shell command in which the guest replaces the shell."""
        return shlex.join(["exec", self.config.python, "-s", "-P", "-B", f"{self.folder}/guest", *arguments])


def longest_reply(limits: ProgramLimits | Limits) -> int:
    """Most bytes of a reply: outputs, submission, kept files, and what the message has beside them, such as their names."""
    return 2 * limits.output_bytes + limits.submission_bytes + limits.keep_bytes + 2 * 1024**2


def _guest_ready(stdout: str) -> GuestReady:
    """The message that the command `prepare` prints last; a shell may have greeted before."""
    try:
        return frames.expect(frames.from_json(stdout.strip().splitlines()[-1]), GuestReady)
    except (IndexError, frames.FrameError):
        message = f"preparing the sandbox failed: it printed {without_key(stdout)[-_STDERR:]!r}"
        raise SandboxError(message, may_have_started=False) from None


def _end(error: Any) -> str:
    """The end of the standard error of a command."""
    return without_key(str(error.stderr))[-_STDERR:].strip() or "it wrote nothing"


def _parse(content: bytes, secret: str) -> Reply:
    """The reply in `content`, which must be whole and carry `secret`.

    Raises:
        SandboxError: it is not whole, or carries another secret.
    """
    with suppress(frames.FrameError):
        answer = frames.expect(frames.unpack(content), GuestReply)
        # As bytes: a forged secret may hold any characters.
        if secrets.compare_digest(answer.secret.encode("utf-8", "surrogatepass"), secret.encode()):
            return answer.reply
    raise SandboxError("the reply is not whole, or does not come from the runner")
