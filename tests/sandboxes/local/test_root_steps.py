"""What a private root is made of."""

from __future__ import annotations

import os

import pytest

from trl_mle.sandboxes.local.runner.isolation.root_steps import PrivateRootError, root_steps


def made(steps) -> dict[str, str]:
    """Action by path, of the steps that are no plain folders or files."""
    return {step.path: step.action for step in steps if step.action not in ("folder", "file")}


@pytest.fixture
def tree(tmp_path):
    for name in ("lib/python/site/kept", "lib/python/site/other", "home/private", "real"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "lib" / "module.py").write_text("x = 1")
    (tmp_path / "link").symlink_to("real")
    return tmp_path


def test_hidden_folders_hold_only_what_is_shown(tree):
    lib = f"{tree}/lib"
    steps = root_steps([lib, f"{lib}/python/site/kept", f"{lib}/module.py"], [f"{lib}/python/site"], str(tree))
    actions = {path: action for path, action in made(steps).items() if path.startswith(str(tree))}
    assert actions == {lib: "show", f"{lib}/python/site": "hide", f"{lib}/python/site/kept": "show"}
    paths = [step.path for step in steps]
    assert paths.index(lib) < paths.index(f"{lib}/python/site") < paths.index(f"{lib}/python/site/kept")


def test_what_is_not_shown_is_not_there(tree):
    steps = root_steps([f"{tree}/real"], [f"{tree}/home"], str(tree))
    assert not [step for step in steps if "home/private" in step.path or step.path.endswith("/other")]
    assert f"{tree}/home" not in made(steps)  # nothing to hide where nothing is


def test_links_on_the_way_lead_to_what_they_name(tree):
    steps = root_steps([f"{tree}/link"], [], str(tree))
    assert made(steps)[f"{tree}/link"] == "link"
    assert made(steps)[f"{tree}/real"] == "show"
    assert next(step.source for step in steps if step.path == f"{tree}/link") == "real"


def test_a_hidden_path_that_is_shown_too_stays_hidden(tree):
    assert f"{tree}/real" not in made(root_steps([f"{tree}/real"], [f"{tree}/real"], str(tree)))


def test_every_folder_is_made_before_what_is_in_it():
    seen = {"/"}
    for step in root_steps(["/usr/bin", "/usr/lib", "/lib", "/etc/localtime", os.path.realpath(__file__)], [], "/usr"):
        shown_above = any(step.path.startswith(path + "/") for path in seen)
        assert os.path.dirname(step.path) in seen or shown_above, step
        seen.add(step.path)


def test_packages_below_the_programs_own_folder_are_an_error(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: True)
    with pytest.raises(PrivateRootError, match="/program/venv would be hidden"):
        root_steps(["/program/venv"], [], "/usr")
