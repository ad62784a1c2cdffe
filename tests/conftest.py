"""Settings that hold for every test, and which tests share a process when several processes run them."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

RAY_FILES = ("test_backends_agree.py", "test_ray_drivers.py", "test_ray_sandbox.py", "ray_cluster/")
"""Files that start Ray clusters. They look for Ray's processes on the whole machine, so two of them must not overlap."""


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign each test to a group of `pytest -n N --dist loadgroup`, which gives a whole group to one process.

    A group is one file, because sandboxes and launched processes are fixtures of a module. Two sets of files are one
    group each: those that start Ray clusters, and the attacks, whose fixtures belong to the package.
    Without pytest-xdist the mark has no effect.
    """
    for item in items:
        path = item.path.as_posix()
        if any(name in path for name in RAY_FILES):
            group = "ray"
        elif "/sandboxes/attacks/" in path:
            group = "attacks"
        else:
            group = path
        item.add_marker(pytest.mark.xdist_group(group))
    # A long group that starts last would leave the other processes idle, so the longest group starts first.
    items.sort(key=lambda item: next(item.iter_markers("xdist_group")).args[0] != "ray")
