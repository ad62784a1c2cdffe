"""Sandboxes that are started once for a module."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.support.local_sandbox import FALL_BACK, make_task
from trl_mle.sandboxes import LocalSandbox
from trl_mle.types import Limits, TaskSpec


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> TaskSpec:
    return make_task(tmp_path_factory.mktemp("task") / "tiny")


@pytest.fixture
def limits() -> Limits:
    return Limits(
        wall_s=30, memory_bytes=400 * 1024**2, file_bytes=4 * 1024**2, work_bytes=32 * 1024**2, output_bytes=64 * 1024
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def warm():
    """One worker with the usual libraries and every layer of this machine."""
    async with LocalSandbox(workers=1) as sandbox:
        yield sandbox


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[(), FALL_BACK], ids=["layers", "fall_back"])
async def bare(request: pytest.FixtureRequest):
    """One worker without libraries, with all layers and without namespaces."""
    from trl_mle.config import SandboxConfig

    sandbox = LocalSandbox(SandboxConfig(workers=1, preload=()))
    sandbox._without = request.param
    async with sandbox:
        yield sandbox
