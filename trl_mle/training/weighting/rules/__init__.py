"""The weighting rules, one per file. `duration_weighting` names a rule by the name of its file.

A new rule is one new file in this folder with a module-level `RULE`, an instance of [`WeightingRule`].
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from trl_mle.training.weighting.rules.base import RuleInput, SeenSamples, WeightingRule

__all__ = ["RULES", "RuleInput", "SeenSamples", "WeightingRule", "find_rules"]


def find_rules() -> dict[str, WeightingRule]:
    """All rules of this folder, by name."""
    names = sorted(module.name for module in iter_modules(__path__) if module.name != "base")
    return {name: import_module(f"{__name__}.{name}").RULE for name in names}


RULES: dict[str, WeightingRule] = find_rules()
"""Every value that `duration_weighting` can have, and its rule."""
