"""`trl-mle doctor`: the layers of isolation of this machine, tested, and what is installed."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trl_mle.errors import SandboxError

if TYPE_CHECKING:
    from trl_mle.sandboxes import LocalSandbox
    from trl_mle.sandboxes.self_test import SelfTestResult

_DISTRIBUTIONS = ("trl_mle", "trl", "transformers", "torch", "accelerate", "peft", "deepspeed", "vllm", "openai",
                  "e2b-code-interpreter", "ray")  # fmt: skip
_YES, _NO = "[green]yes[/]", "[red]NO[/]"


def doctor(
    workers: Annotated[int | None, typer.Option(help="Programs at a time; by default one per core.")] = None,
    python: Annotated[str, typer.Option(help="Interpreter for the programs.")] = sys.executable,
) -> None:
    """Show what this machine offers: layers of isolation, tested with real programs, and what is installed.

    Exit code 0 if programs are sealed, 1 if the self test found a hole, 3 if the sandbox refuses to run here.
    """
    from asyncio import run as run_async

    from trl_mle.sandboxes import LocalSandbox

    console = Console()
    sandbox = LocalSandbox(workers=workers, python=python)
    console.print(_machine(sandbox.workers))
    console.print(_installed())
    try:
        startup_s, results = run_async(_examine(sandbox))
    except SandboxError as error:
        if sandbox.layers:
            console.print(_layers(sandbox))
        console.print(f"[bold red]Programs do not run here.[/] {escape(str(error))}")
        raise typer.Exit(3) from None
    console.print(_layers(sandbox))
    gaps = _gaps(sandbox)
    if gaps.row_count:
        console.print(gaps)
    console.print(_self_test(results))
    failed = [result.name for result in results if not result.passed]
    missing = [layer.name for layer in sandbox.layers if not layer.active]
    startup = f"{sandbox.workers} worker(s) start in {startup_s:.1f} s."
    if failed:
        console.print(f"[bold red]A program got further than it may: {', '.join(failed)}.[/] {startup}")
        raise typer.Exit(1)
    if missing:
        console.print(f"[bold yellow]Programs are sealed, without {', '.join(missing)}[/] (see above). {startup}")
    else:
        console.print(f"[bold green]Programs are sealed by every layer.[/] {startup}")


async def _examine(sandbox: LocalSandbox) -> tuple[float, list[SelfTestResult]]:
    from trl_mle.sandboxes.self_test import run_self_test

    began = time.perf_counter()
    async with sandbox:
        startup_s = time.perf_counter() - began
        return startup_s, await run_self_test(sandbox)


def _machine(workers: int) -> Table:
    from trl_mle.tasks.cache import cache_dir
    from trl_mle.types import Limits

    table = Table("machine", "")
    table.add_row("system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    table.add_row("Python", f"{platform.python_version()} at {escape(sys.executable)}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    table.add_row("cores", f"{cores} usable of {os.cpu_count()}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = Limits()
    most = workers * (limits.memory_bytes + limits.work_bytes)
    remark = " [yellow](more than this machine has: lower `workers`)[/]" if most > memory else ""
    table.add_row("memory", f"{memory / 1024**3:.1f} GiB")
    table.add_row("programs", f"{workers} at a time may use {most / 1024**3:.0f} GiB with their files{remark}")
    cache = cache_dir()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1024**3
    writable = "" if os.access(existing, os.W_OK) else " [red](cannot be written: set TRL_MLE_CACHE)[/]"
    table.add_row("tasks", f"{escape(str(cache))}, {free:.0f} GiB free{writable}")
    return table


def _installed() -> Table:
    from trl_mle.scripts.checks import accelerators

    table = Table("package", "version")
    for name in _DISTRIBUTIONS:
        try:
            table.add_row(name, version(name))
        except PackageNotFoundError:
            table.add_row(name, "[dim]not installed[/]")
    table.add_row("accelerator", accelerators())
    return table


def _layers(sandbox: LocalSandbox) -> Table:
    table = Table("layer", "here", "what it does, or what its absence means")
    for layer in sandbox.layers:
        table.add_row(layer.name, _YES if layer.active else _NO, layer.gives if layer.active else layer.without)
    return table


def _gaps(sandbox: LocalSandbox) -> Table:
    from trl_mle.sandboxes.modes import gaps_of

    table = Table("not covered here", "what a program can do")
    for gap in gaps_of(sandbox.layers, in_memory=sandbox.scratch_dir is None):
        table.add_row(gap.name, escape(gap.text))
    return table


def _self_test(results: list[SelfTestResult]) -> Table:
    table = Table("self test", "passed", "what a program found")
    for result in results:
        table.add_row(result.name, _YES if result.passed else _NO, escape(result.message))
    return table
