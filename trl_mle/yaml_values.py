"""YAML of tasks and recipes: numbers as in YAML 1.2 (and `2_000`), no key twice, and one kind of exception.

PyYAML reads YAML 1.1, in which `010` is 8, `1:30` is 90 and `1e-5` is a text. Some wrong values end in an `IndexError`, a
`KeyError` or an `AttributeError` there. Here each is a `yaml.YAMLError`.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_DIGITS, _EXPONENT = "[0-9]+(_[0-9]+)*", "[eE][-+]?[0-9]+"
_INTEGER = re.compile(rf"[-+]?{_DIGITS}|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    rf"[-+]?(\.{_DIGITS}|{_DIGITS}\.({_DIGITS})?)({_EXPONENT})?|[-+]?{_DIGITS}{_EXPONENT}"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_NUMBERS = {"tag:yaml.org,2002:int": _INTEGER, "tag:yaml.org,2002:float": _FLOAT}


class Loader(yaml.SafeLoader):
    """A `yaml.SafeLoader` with the numbers of YAML 1.2, in which a key that occurs twice is an error."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{str(node.value)[:60]!r} is no value of the type {kind}", node.start_mark
            ) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        check_keys(node)
        return super().construct_mapping(node, deep)


def _construct_integer(loader: Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


Loader.yaml_implicit_resolvers = {
    start: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS.items():
    Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789"))
Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)


class Dumper(yaml.SafeDumper):
    """A `yaml.SafeDumper` that quotes a text such as `1e5`, which `Loader` takes for a number."""


for _tag, _pattern in _NUMBERS.items():
    Dumper.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})$"), list("-+.0123456789"))


def check_keys(node: yaml.MappingNode) -> None:
    """Raise `yaml.YAMLError` if a key of a mapping is no single value, or occurs twice."""
    if getattr(node, "checked", False):  # what it merges by `<<` may stand in it by now, beside its own keys
        return
    node.checked = True  # type: ignore[attr-defined]
    seen: set[str] = set()
    for key, _ in node.value:
        problem = None
        if not isinstance(key, yaml.ScalarNode):
            problem = "a key must be a single value"
        elif key.value in seen:
            problem = f"the key `{key.value}` occurs twice"
        else:
            seen.add(key.value)
        if problem:
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)


def compose(text: str, name: str) -> yaml.Node | None:
    """The node of the one document in `text`, or `None` if there is none. Error messages call the file `name`."""
    loader = Loader(text)
    loader.name = name
    try:
        return loader.get_single_node()
    except RecursionError as error:
        raise yaml.YAMLError("values are nested too deeply") from error
    finally:
        loader.dispose()


def construct(node: yaml.Node) -> Any:
    """The value of a node."""
    loader = Loader("")
    try:
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("values are nested too deeply") from error
    finally:
        loader.dispose()


def place_of(error: yaml.MarkedYAMLError) -> str:
    """`line 3, column 5` of an error, or an empty text if it does not say where it is."""
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def dump(data: Any) -> str:
    """The YAML text of `data`, with keys in their order."""
    return yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def flatten(node: yaml.MappingNode) -> None:
    """Put what a mapping merges by `<<` before its own keys, so that these win."""
    Loader("").flatten_mapping(node)
