"""The YAML file of a script: its keys checked, its values of the types that the same flags would have."""

from __future__ import annotations

import argparse
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from trl_mle.errors import ConfigError
from trl_mle.yaml_values import check_keys, compose, construct, flatten, place_of

TEXT_OR_TRUTH = frozenset({"fsdp", "resume_from_checkpoint"})
"""Fields that transformers annotates as text and that take a truth value, too."""
SCALARS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
"""Types of single values, and their names in error messages."""


def read_config(path: str, hints: Mapping[str, Any], actions: Mapping[str, argparse.Action]) -> dict[str, Any]:
    """Key -> value of a YAML file; the variables under `env` are set.

    A value is read as the flag of its key reads text, because YAML itself takes `no` for a truth value. A single
    value stands for a list of one.

    Args:
        path (`str`):
            The file, or a pipe.
        hints (mapping from key to type):
            Types of the dataclasses' fields that have a flag. Other keys are left to the caller.
        actions (mapping from key to `argparse.Action`):
            The flags of these fields.

    Raises:
        ConfigError: the file is not a YAML mapping, has a key twice, or a value does not fit its key.
    """
    try:
        return _read(path, hints, actions)
    except yaml.MarkedYAMLError as error:
        where = ", ".join(filter(None, (path, place_of(error))))
        raise ConfigError(f"{where}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error


def _read(path: str, hints: Mapping[str, Any], actions: Mapping[str, argparse.Action]) -> dict[str, Any]:
    node = _compose(path)
    check_keys(node)
    flatten(node)
    content = {str(key_node.value): value_node for key_node, value_node in node.value}
    environment = content.pop("env", None)
    if environment is not None:
        _set_environment(path, environment)
    return {
        key: _converted(key, value_node, hints[key], actions[key]) if key in hints else construct(value_node)
        for key, value_node in content.items()
    }


def field_types(*classes: type) -> dict[str, Any]:
    """Field -> type of dataclasses, with annotations resolved. The first class that has a field wins, as in the parser."""
    hints: dict[str, Any] = {}
    for cls in reversed(classes):
        hints.update(get_type_hints(cls))
    return hints


def _compose(path: str) -> yaml.MappingNode:
    if Path(path).is_dir():
        raise ConfigError(f"`--config` is {path!r}, which is a folder. Give a YAML file in it.")
    try:
        # `utf-8-sig`: editors on Windows write a byte-order mark.
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start}. Save it as UTF-8."
        ) from error
    node = compose(text, path)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path} must contain a YAML mapping: lines of the form `key: value`.")
    return node


def _set_environment(path: str, node: yaml.Node) -> None:
    """Set variables to the texts in the file: `no` stays `no`, and `010` stays `010`."""
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: `env` must be a mapping from variables to values.")
    check_keys(node)
    flatten(node)
    variables = {}
    for name_node, value_node in node.value:
        name, value = name_node.value, value_node.value
        if not name or "=" in name or "\0" in name:
            raise ConfigError(f"{path}: `env` has {name!r}, which is no name of a variable.")
        if not isinstance(value_node, yaml.ScalarNode) or construct(value_node) is None or "\0" in value:
            raise ConfigError(
                f"{path}: `env` sets `{name}` to {construct(value_node)!r}. Give a text, in quotes if it is empty."
            )
        variables[name] = value
    os.environ.update(variables)


def _converted(key: str, node: yaml.Node, hint: Any, action: argparse.Action) -> Any:
    value = construct(node)
    if value is None:
        if isinstance(node, yaml.ScalarNode) and not _allows_none(hint) and node.value:
            raise ConfigError(f"`{key}` is null. Give {_described(hint)}, or leave the key out for its default.")
        return None if _allows_none(hint) else action.default
    kind = _inner(hint)
    if get_origin(kind) is list:
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        return [_scalar(key, item, (get_args(kind) or (str,))[0], action) for item in items]
    if key in TEXT_OR_TRUTH and isinstance(value, bool):
        return value
    if kind in SCALARS or action.choices is not None:
        return _scalar(key, node, kind, action)
    return value  # of several types, or a mapping: the dataclass checks it


def _scalar(key: str, node: yaml.Node, kind: Any, action: argparse.Action) -> Any:
    """A single value, converted by the flag's own function."""
    value = construct(node)
    if not isinstance(node, yaml.ScalarNode) or value is None:
        form = {dict: "a mapping", list: "a list", type(None): "empty"}.get(type(value), "no single value")
        raise ConfigError(f"`{key}` is or holds {value!r}, which is {form}. Give {_described(kind)}.")
    if node.value == "None" and kind is not str:
        raise ConfigError(f"`{key}` is the text 'None'. YAML's word for no value is `null`.")
    if kind is bool and isinstance(value, bool):  # `on`, which is no flag's word
        return value
    # A number that YAML has read stays as it is: `save_steps: 500` is no 500.0.
    if kind in (int, float) and isinstance(value, (int, kind)) and not isinstance(value, bool):
        return value
    choices = [] if action.choices is None else list(action.choices)
    advice = f"Give {'one of ' + ', '.join(map(str, choices)) if choices else _described(kind)}."
    try:
        converted = (action.type if callable(action.type) else str)(node.value)
    except (ValueError, TypeError, argparse.ArgumentTypeError) as error:
        raise ConfigError(f"`{key}` is {node.value!r}. {advice}") from error
    if choices and converted not in choices:
        raise ConfigError(f"`{key}` is {node.value!r}. {advice}")
    return converted


def _allows_none(hint: Any) -> bool:
    return _is_union(hint) and type(None) in get_args(hint)


def _inner(hint: Any) -> Any:
    """`X` of `X | None`; any other type as it is."""
    members = [member for member in get_args(hint) if member is not type(None)] if _is_union(hint) else [hint]
    return members[0] if len(members) == 1 else hint


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _described(hint: Any) -> str:
    kind = _inner(hint)
    if get_origin(kind) is list:
        return "a list"
    return SCALARS.get(kind, "a value of the right type")
