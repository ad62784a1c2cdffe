"""Where TRL's asynchronous trainer is imported from: the layout of TRL 1.16, and that of 1.18 played by stand-ins."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import trl

from trl_mle.training import async_grpo
from trl_mle.training.async_grpo import trl_imports

MODULES = ("trl_imports", "config", "collator", "rollouts", "trainer")


@pytest.fixture(params=["AsyncRolloutLoop", "_AsyncRolloutLoop"])
def stable_trl(monkeypatch, request):
    """TRL as of 1.18: the trainer in `trl`, the loop in `trl.trainer.async_grpo_trainer`, no experimental submodules."""
    module = ModuleType("trl.trainer.async_grpo_trainer")
    module.__spec__ = ModuleSpec(module.__name__, None)
    for name in ("AsyncRolloutWorker", "RolloutGroup", "RolloutSample"):
        setattr(module, name, getattr(trl_imports, name))
    setattr(module, request.param, trl_imports.AsyncRolloutLoop)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys.modules["trl.trainer"], "async_grpo_trainer", module, raising=False)
    for name in ("AsyncGRPOConfig", "AsyncGRPOTrainer"):
        monkeypatch.setattr(trl, name, getattr(trl_imports, name), raising=False)
    for name in [name for name in sys.modules if name.startswith("trl.experimental.async_grpo")]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it is an error
    for name in MODULES:
        # Both places that hold the module are put back afterwards.
        monkeypatch.setattr(async_grpo, name, importlib.import_module(f"{async_grpo.__name__}.{name}"))
        monkeypatch.delitem(sys.modules, f"{async_grpo.__name__}.{name}")


def test_the_stable_layout_is_imported(stable_trl):
    imports = importlib.import_module(trl_imports.__name__)
    assert imports.STABLE
    assert imports.async_grpo_trainer is sys.modules["trl.trainer.async_grpo_trainer"]
    trainer = importlib.import_module(f"{async_grpo.__name__}.trainer")
    assert issubclass(trainer.AsyncDurationAwareTrainer, trl.AsyncGRPOTrainer)
    assert issubclass(trainer.DurationRolloutLoop, imports.AsyncRolloutLoop)
    assert issubclass(trainer.AsyncDurationAwareConfig, trl.AsyncGRPOConfig)


@pytest.mark.skipif(trl_imports.STABLE, reason="TRL's trainer is not experimental")
def test_importing_shows_no_warning_of_trl(monkeypatch):
    monkeypatch.delenv("TRL_EXPERIMENTAL_SILENCE", raising=False)
    monkeypatch.setattr(trl, "experimental", sys.modules["trl.experimental"], raising=False)  # put back afterwards

    def messages(name: str) -> list[str]:
        # The packages alone: their submodules stay, so that classes are the same afterwards.
        for module in ("trl.experimental", "trl.experimental.async_grpo", name):
            monkeypatch.delitem(sys.modules, module, raising=False)
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            importlib.import_module(name)
        assert "trl.experimental" in sys.modules
        return [str(warning.message) for warning in shown]

    monkeypatch.setattr(async_grpo, "trl_imports", trl_imports)
    assert any("trl.experimental" in message for message in messages("trl.experimental"))  # a control
    assert not messages(trl_imports.__name__)
