"""Dynamic names: whether a program may bind names of its own that its text does not name, as by `globals()["f"] = int`."""

from __future__ import annotations

import ast

from trl_mle.instrumentation.analysis.budget import spend
from trl_mle.instrumentation.analysis.name_bindings import BINDS_ANY_ATTRIBUTE, BINDS_ANY_NAME
from trl_mle.instrumentation.analysis.symbols import Symbols
from trl_mle.instrumentation.analysis.uses import LOOKING

_BINDS_ANY = (BINDS_ANY_NAME - {"eval", "compile"}) | {f".{name}" for name in BINDS_ANY_ATTRIBUTE}
_REACHES_GLOBALS = frozenset(
    {
        "globals", "locals", "exec", "eval", "__import__", "import_module", ".import_module", ".modules", ".f_globals",
        ".f_locals", ".currentframe", ".get_objects", ".get_referrers", ".__globals__", ".__getattribute__", ".attrgetter",
        "attrgetter",
    }
)  # fmt: skip
"""Names by which a program may have its own module, or the functions in it, as objects."""
_OF_MODULES = frozenset({"__main__", "sys.modules", "gc", "inspect", "ctypes"})


def binds_any_name(symbols: Symbols) -> bool:
    """Whether a program can bind names that its text does not name."""
    called = {name for name in _BINDS_ANY.intersection(symbols.calls) if not _only_looks(symbols, name)}
    return bool(called) or not symbols.references.isdisjoint(_BINDS_ANY)


def reaches_its_globals(symbols: Symbols) -> bool:
    """Whether a program may change its own module as an object. Without that, `setattr` replaces methods, no functions."""
    used = symbols.references.union(symbols.calls)
    spend(len(symbols.imports))
    if not used.isdisjoint(_REACHES_GLOBALS) or not _OF_MODULES.isdisjoint(symbols.imports.values()):
        return True
    if not symbols.references.isdisjoint({"getattr", "vars"}):
        return True
    reads = symbols.calls.get("getattr", [])
    spend(len(reads))
    return any(not site.call.args for site in symbols.calls.get("vars", [])) or not all(
        _reads_a_plain_attribute(site.call) for site in reads
    )


def _reads_a_plain_attribute(call: ast.Call) -> bool:
    match call.args:
        case [_, ast.Constant(value=str(attribute)), *_]:
            return not attribute.startswith(("_", "f_")) and attribute != "modules"
    return False


def _only_looks(symbols: Symbols, name: str) -> bool:
    """Whether no call of `name` binds a name of the program: `print(vars(args))`, `setattr(args, "seed", 1)`."""
    sites = symbols.calls[name]
    spend(len(sites))
    if name == "setattr":
        return all(_sets_a_plain_attribute(symbols, site.call) for site in sites)
    is_rebound = any(
        used in symbols.functions or used in symbols.bindings or used in symbols.classes for used in LOOKING
    )
    is_view = name in ("vars", "globals", "locals")
    return is_view and not is_rebound and all(id(site.call) in symbols.looked_at for site in sites)


def _sets_a_plain_attribute(symbols: Symbols, call: ast.Call) -> bool:
    match call.args:
        case [_, ast.Constant(value=str(attribute)), _]:
            taken = (symbols.functions, symbols.methods, symbols.classes, symbols.bindings, symbols.imports)
            return not attribute.startswith("__") and not any(attribute in names for names in taken)
    return False
