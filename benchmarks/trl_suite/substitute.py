"""A pytest plugin for TRL's tests: puts a trainer of this package where the tests import `trl.GRPOTrainer`, skips what needs the
hub, and writes down how each test ended."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import trl
from trl import import_utils

from trl_mle import DurationAwareConfig, DurationAwareTrainer
from trl_mle.errors import ConfigError

MODEL_NAME = re.compile(r"""["']((?:trl-internal-testing|Qwen|HuggingFaceTB|kernels-community)/[\w.-]+)["']""")
"""Names of models and data sets in the code of a test."""
WITHOUT_STAND_IN = {"test_prepare_input_called_with_correct_data": "needs the very rows of trl-internal-testing/zen"}
LARGE_VOCABULARY = ("test_train_with_mask_truncated_completions_all_masked",)
"""Tests in which no completion may end, which is likely only among many tokens."""
FOLDER = Path.cwd()


class Unequal(DurationAwareTrainer):
    """Reports durations by itself, since the reward functions of TRL's tests report none."""

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self._log_completion_extra("action_duration", [1.0 + len(ids) % 3 for ids in completion_ids_list])
        return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)


class Overlapping(DurationAwareTrainer):
    """Takes a function for each reward model, which overlap refuses: nearly all of TRL's tests have one."""

    def __init__(self, model, reward_funcs=None, args=None, *rest, **kwargs):
        one = not isinstance(reward_funcs, list)
        replaced = [_letters if isinstance(each, str) else each for each in ([reward_funcs] if one else reward_funcs)]
        super().__init__(model, replaced[0] if one else replaced, args, *rest, **kwargs)


def _letters(completions, **kwargs):
    return [float(sum(map(ord, str(completion))) % 17) for completion in completions]


@dataclass
class NoneConfig(DurationAwareConfig):
    duration_weighting: str = "none"


@dataclass
class OverlapConfig(NoneConfig):
    overlap_execution: bool = True


@dataclass
class IndependentConfig(NoneConfig):
    tool_rollouts: str = "independent"


VARIANTS = {
    "trl": (trl.GRPOTrainer, trl.GRPOConfig),
    "none": (DurationAwareTrainer, NoneConfig),
    "proportional": (Unequal, DurationAwareConfig),
    "overlap": (Overlapping, OverlapConfig),
    "independent": (DurationAwareTrainer, IndependentConfig),
}
"""What stands where the tests import `GRPOTrainer` and `GRPOConfig`."""


def availability(name: str):
    """A test of TRL for an optional package, such as `is_joblib_available`, which the installed TRL has not or no longer."""
    package = re.fullmatch(r"is_(\w+)_available", name)
    if package is None:
        raise AttributeError(name)
    return lambda: importlib.util.find_spec(package[1]) is not None


def pytest_configure(config):
    import_utils.__getattr__ = availability
    trl.GRPOTrainer, trl.GRPOConfig = VARIANTS[os.environ["TRL_SUITE_VARIANT"]]
    config.addinivalue_line("markers", "slow: needs minutes or a GPU")


def pytest_collection_modifyitems(items):
    for item in items:
        for name in _names(item):
            if not (FOLDER / "small" / name).is_dir():
                item.add_marker(pytest.mark.skip(reason=f"needs {name} of the hub, of which there is no stand-in"))
        if item.function.__name__ in WITHOUT_STAND_IN:
            item.add_marker(pytest.mark.skip(reason=WITHOUT_STAND_IN[item.function.__name__]))


def _names(item) -> set[str]:
    """Names of models and data sets that a test loads: those of its parameters, or else those in its code."""
    parameters = getattr(item, "callspec", None)
    values = [] if parameters is None else [repr(value) for value in parameters.params.values()]
    return set(MODEL_NAME.findall("\n".join([*values, _code(item)])))


def _code(item) -> str:
    """The code of a test without its decorators, which name the models of all its parameters."""
    return inspect.getsource(item.function).split(f"def {item.function.__name__}(", 1)[-1]


def pytest_runtest_setup(item):
    # The stand-ins are found as folders of the working directory.
    large = "# renumbered" in _code(item) or item.function.__name__ in LARGE_VOCABULARY
    os.chdir(FOLDER / ("large" if large else "small"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when != "call" and report.passed:
        return
    outcome = "skipped" if hasattr(report, "wasxfail") else report.outcome
    reason = ""
    if call.excinfo is not None:
        reason = (str(call.excinfo.value).strip() or call.excinfo.typename).splitlines()[0]
        # A message that says what does not work with overlap is not a failure: the documents list the same.
        if isinstance(call.excinfo.value, ConfigError) and "overlap_execution" in reason:
            outcome = "refused"
    line = {"test": item.nodeid, "outcome": outcome, "reason": reason, "seconds": round(report.duration, 2)}
    with open(os.environ["TRL_SUITE_RESULTS"], "a") as file:
        file.write(json.dumps(line) + "\n")
