"""Settings that hold for every test, and which tests share a process when several processes run them."""

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["MLEBENCH_DATA_DIR"] = os.devnull  # data of MLE-bench on this machine is no part of the tests
for variable in ("DARE_BENCH_DIR", "SANDMLE_DIR"):  # nor are other collections of tasks
    os.environ.pop(variable, None)

gc.disable()  # until the tests are collected: nearly everything that is imported and collected stays

# A loaded machine is no failure: an example takes as long as it takes.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples in every run: what fails is due to the change under test. `make test-slow` searches for new ones.
settings.register_profile("tests", settings.get_profile("search"), derandomize=True)
settings.load_profile("tests")

RAY_FILES = ("test_backends_agree.py", "test_ray_drivers.py", "test_ray_sandbox.py", "ray_cluster/")
"""Files that start Ray clusters. They look for Ray's processes on the whole machine, so two of them must not overlap."""


TWO_PROCESS_FILES = (
    "test_trainer_two_processes.py",
    "test_processes_end_together.py",
    "test_overlap_two_processes.py",
)
"""Files whose tests share one launch of two processes (the fixture `two_processes`)."""


def group_of(path: str) -> str:
    """The group that the tests of a file belong to; a whole group runs in one process.

    A group is one file, because sandboxes and launched processes are fixtures of a module. Three sets of files are one group each:
    those that start Ray clusters, those that train with two processes, and the attacks, whose fixtures belong to the package.
    """
    if any(name in path for name in RAY_FILES):
        return "ray"
    if any(name in path for name in TWO_PROCESS_FILES):
        return "two processes"
    return "attacks" if "/sandboxes/attacks/" in path else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Hand out groups. (`--dist loadgroup` has no effect with pytest 9: the marks do not reach the ids of tests.)"""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid.split("::")[0])

    return GroupScheduling(config, log)


SLOWEST = ("/training/", "/sandboxes/", "/scripts/")
"""Folders whose files are long groups, slowest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long groups first: one that starts last would leave the other processes idle."""
    shared = {"ray": 0, "attacks": 1, "two processes": 2}

    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        folders = (at for at, folder in enumerate(SLOWEST, start=len(shared)) if folder in path)
        return shared.get(group_of(path), next(folders, len(shared) + len(SLOWEST)))

    items.sort(key=rank)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave modules and tests out of garbage collection.

    They are more than a million objects. Each training ends with a full collection (`Accelerator.free_memory`), which took
    twice as long as the training of a tiny model.
    """
    gc.freeze()
    gc.enable()
