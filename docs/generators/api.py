"""The page of public Python names: each one is documented by mkdocstrings from its docstring."""

from __future__ import annotations

from collections.abc import Iterator

import trl_mle

GROUPS = {
    "Training": "trl_mle.training trl_mle.dataset",
    "Rewards": "trl_mle.rewards",
    "Tasks and prompts": "trl_mle.tasks trl_mle.prompts",
    "Programs and marks": "trl_mle.programs trl_mle.instrumentation",
    "Sandboxes": "trl_mle.sandboxes",
    "Experience": "trl_mle.experience",
    "Agents": "trl_mle.environments",
    "Evaluation": "trl_mle.evaluation",
    "Records": "trl_mle.types",
    "Settings": "trl_mle.config",
}
"""Heading -> modules of `trl_mle` whose public names stand there. A module that is not named here stands under "More"."""


def page() -> str:
    """Markdown of the page."""
    return "\n".join(_lines())


def names_of(module: str) -> list[str]:
    """The public names of `trl_mle` that `module` defines."""
    return trl_mle._NAMES.get(module, "").split()


def _lines() -> Iterator[str]:
    yield (
        "# Python\n\nEvery name is imported from `trl_mle`: `from trl_mle import load_task`. Importing `trl_mle` loads neither "
        "torch nor TRL.\n"
    )
    grouped = {module for modules in GROUPS.values() for module in modules.split()}
    more = [module for module in trl_mle._NAMES if module not in grouped]
    for heading, modules in {**{key: text.split() for key, text in GROUPS.items()}, "More": more}.items():
        names = [(module, name) for module in modules for name in names_of(module)]
        if names:
            yield f"## {heading}\n"
        for module, name in names:
            yield f"::: {module}.{name}\n    options:\n      heading_level: 3\n"
