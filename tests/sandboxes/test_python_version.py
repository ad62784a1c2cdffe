"""A sandbox whose Python is another one than prompts state says so at its start."""

from __future__ import annotations

import logging

import pytest

from trl_mle import LocalSandbox, SandboxConfig
from trl_mle.prompts.scratch import PYTHON
from trl_mle.sandboxes import python_version


def test_prompts_state_it():
    assert python_version.STATED == PYTHON


@pytest.mark.parametrize(("version", "warns"), [(f"{PYTHON}.99", False), ("", False), ("3.1.2", True), ("4.0", True)])
def test_only_another_minor_version_is_another_one(caplog, version, warns):
    python_version.warn_of_version(logging.getLogger("trl_mle"), version, "The template", "Use another.")
    expected = f"The template has Python {version}, but prompts state Python {PYTHON}"
    assert (expected in caplog.text) == warns


async def test_the_local_sandbox_compares_its_interpreter(caplog, monkeypatch):
    monkeypatch.setattr(python_version, "STATED", "3.1")
    async with LocalSandbox(SandboxConfig(workers=2, preload=())):
        pass
    assert caplog.text.count(f"has Python {PYTHON}.") == 1
