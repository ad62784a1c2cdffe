"""The weighting rules, one per file. `duration_weighting` names a rule by the name of its file.

A new rule is one new file in this folder with a module-level `RULE`, an instance of [`WeightingRule`]. Files whose names begin
with `_` hold no rule.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from trl_mle.errors import ConfigError
from trl_mle.training.weighting.rules.base import RuleInput, SeenSamples, WeightingRule

__all__ = ["RULES", "RuleInput", "SeenSamples", "WeightingRule", "find_rules"]


def find_rules() -> dict[str, WeightingRule]:
    """All rules of this folder, by name.

    Raises:
        ConfigError: a file that has no `RULE`.
    """
    names = sorted(module.name for module in iter_modules(__path__))
    return {name: _rule_of(name) for name in names if name != "base" and not name.startswith("_")}


def _rule_of(name: str) -> WeightingRule:
    module = import_module(f"{__name__}.{name}")
    rule = getattr(module, "RULE", None)
    if not isinstance(rule, WeightingRule):
        raise ConfigError(
            f"`RULE` of {module.__file__} is {rule!r}, not an instance of a `WeightingRule`. Add `RULE = YourRule()`, or let "
            "the name of a file without a rule begin with `_`."
        )
    return rule


RULES: dict[str, WeightingRule] = find_rules()
"""Every value that `duration_weighting` can have, and its rule."""
