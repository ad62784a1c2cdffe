"""The same programs get the same status, grade and milestones, wherever they run."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.support import e2b_server
from tests.support.corpus import Entry, load_corpus, task_of
from tests.support.ray_cluster import local_cluster
from trl_mle import E2BConfig, E2BSandbox, LocalSandbox, RayConfig, RaySandbox
from trl_mle.instrumentation import ASTInstrumenter, new_nonce, parse_milestones
from trl_mle.types import Limits, Program

PROGRAMS, BY_DEFAULT = 60, 5
WORKERS = 2


@asynccontextmanager
async def e2b():
    os.environ["E2B_API_KEY"] = e2b_server.KEY
    try:
        with e2b_server.serve() as server:
            config = E2BConfig(
                api_url=server.url, sandbox_url=server.url, python=sys.executable, max_sandboxes=WORKERS
            )
            async with E2BSandbox(config) as sandbox:
                yield sandbox
    finally:
        del os.environ["E2B_API_KEY"]


@asynccontextmanager
async def ray():
    with local_cluster(WORKERS) as (cluster, _):
        async with RaySandbox(RayConfig(address=cluster.address, workers=WORKERS)) as sandbox:
            yield sandbox


OTHERS = {"e2b": e2b, "ray": ray}
"""Name -> a context that gives a running sandbox. Each is compared with `LocalSandbox`."""


@dataclass(frozen=True)
class Result:
    """What must not depend on where a program ran."""

    status: str
    exit_code: int | None
    milestones: tuple[str, ...]
    valid: bool | None
    score: float | None


def chosen() -> list[Entry]:
    """Programs of every source and task, the same at each time."""
    by_kind: dict[tuple[str, str], list[Entry]] = {}
    for entry in load_corpus():
        by_kind.setdefault((entry.source, entry.task), []).append(entry)
    found: list[Entry] = []
    while len(found) < PROGRAMS:
        for entries in by_kind.values():
            if entries:
                found.append(entries.pop(0))
    return found[:PROGRAMS]


def few() -> list[Entry]:
    """Some of them, none of which takes long."""
    return [entry for entry in chosen() if not entry.id.startswith("reference-")][::3][:BY_DEFAULT]


@pytest.fixture(scope="module")
def expected_of_few(tmp_path_factory) -> dict[str, Result]:
    """What `LocalSandbox` makes of the few, once for all backends."""

    async def run() -> dict[str, Result]:
        async with LocalSandbox(workers=WORKERS) as local:
            return await results(local, few(), tmp_path_factory.mktemp("local"))

    return asyncio.run(run())


async def results(sandbox, entries, folder) -> dict[str, Result]:
    room = asyncio.Semaphore(WORKERS)
    instrumenter = ASTInstrumenter()

    async def result(entry: Entry) -> Result:
        async with room:
            task = task_of(entry, folder)
            program = instrumenter.instrument(Program("", entry.code), new_nonce())
            execution = await sandbox.run(program.code, task, Limits.for_task(task), source=entry.code)
        grade = task.grade(execution.submission) if hasattr(task, "grade") and execution.submission else None
        return Result(
            status=execution.status,
            exit_code=execution.exit_code,
            milestones=parse_milestones(execution.stdout, program.nonce),
            valid=None if grade is None else grade.valid,
            score=None if grade is None else grade.score,
        )

    return dict(zip([entry.id for entry in entries], await asyncio.gather(*map(result, entries)), strict=True))


@pytest.mark.parametrize("backend", [pytest.param(e2b, id="e2b"), pytest.param(ray, id="ray", marks=pytest.mark.slow)])
async def test_the_same_everywhere(backend, expected_of_few, tmp_path):
    async with backend() as other:
        check(expected_of_few, expected_of_few, await results(other, few(), tmp_path))
        await check_kept_files(other, task_of(few()[0], tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("backend", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.timeout(900)
async def test_many_programs_are_the_same_everywhere(backend, tmp_path):
    entries = chosen()
    async with LocalSandbox(workers=WORKERS) as local:
        expected, again = await results(local, entries, tmp_path), await results(local, entries, tmp_path)
    async with backend() as other:
        check(expected, again, await results(other, entries, tmp_path))


async def check_kept_files(sandbox, task) -> None:
    """A program finds the files of an earlier one, and nothing of what is left out."""
    limits = Limits(wall_s=60, keep_bytes=1 << 20)
    write = """
import os
os.mkdir("a")
open("a/größe", "wb").write(bytes([0, 255]))
open("json.py", "w")
open("large", "wb").truncate(2 << 20)
"""
    first = await sandbox.run(write, task, limits)
    assert (first.status, first.files, first.files_cut) == ("ok", {"a/größe": b"\x00\xff"}, 2), first.stderr
    many = {f"{number:03}": bytes(5000) for number in range(200)}
    second = await sandbox.run(
        "import os; print(*sorted(os.listdir()), sep=',')", task, limits, files={**first.files, **many}
    )
    assert second.stdout == ",".join([*many, "a", "input", "main.py", "tmp"]) + "\n"
    assert second.files == {**first.files, **many}


def check(expected: dict[str, Result], again: dict[str, Result], found: dict[str, Result]) -> None:
    """`expected` and `again` are two runs on `LocalSandbox`."""
    number = len(expected)
    # What a program leaves to chance may differ between two runs on the same backend already.
    steady = {name for name in expected if _told(expected[name]) == _told(again[name])}
    assert len(steady) >= 0.9 * number
    assert {name: _told(found[name]) for name in sorted(steady)} == {
        name: _told(expected[name]) for name in sorted(steady)
    }
    for name in set(expected) - steady:
        assert (found[name].status, found[name].milestones) == (expected[name].status, expected[name].milestones), name
    assert {result.status for result in expected.values()} >= {"ok", "error"}
    assert sum(result.valid is True for result in expected.values()) >= number // 4


def _told(result: Result) -> tuple:
    score = None if result.score is None else round(result.score, 6)
    return result.status, result.exit_code, result.milestones, result.valid, score
