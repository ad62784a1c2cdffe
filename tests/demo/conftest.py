"""A sandbox that is started once for a module: its start takes longer than most programs of the demo."""

from __future__ import annotations

import pytest_asyncio

from trl_mle import LocalSandbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox():
    async with LocalSandbox(workers=1) as sandbox:
        yield sandbox
