"""Reading and writing of `task.yaml`. Reading is strict: every error names the file, the key, the value and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from trl_mle.errors import TaskError
from trl_mle.grading import METRICS, get_metric
from trl_mle.tasks.tabular import TabularTask
from trl_mle.tasks.task import Task
from trl_mle.tasks.transform_yaml import MAX_LEADERBOARD, is_number, read_transform, transform_value
from trl_mle.types import LARGEST, LONGEST_S, TaskSpec
from trl_mle.yaml_values import compose, construct, dump, place_of

REQUIRED = ("id", "title", "metric", "direction")
"""Keys with a text."""
COLUMNS = ("id_column", "target_column", "target_columns")
FILES = ("train_file", "test_file", "sample_file")
OPTIONAL = ("time_limit_s", "memory_bytes", "threads", "packages", "transform", "metric_text", "license", "grader")
KEYS = REQUIRED + COLUMNS + FILES + OPTIONAL
MAX_VALUES = 3 * MAX_LEADERBOARD
"""Largest number of values of a `task.yaml`."""


def read_task_yaml(
    path: Path, graders: Mapping[str, type[Task]] | None = None, *, private: bool = True
) -> dict[str, Any]:
    """Read and check a `task.yaml`.

    Args:
        path (`Path`):
            The file.
        graders (mapping from `str` to subclass of `Task`, *optional*):
            Kind of task by the name of its grader. Defaults to `tabular` alone.
        private (`bool`, *optional*, defaults to `True`):
            Whether the folder `private` is there. Without it, a leaderboard file in it counts as empty.

    Returns:
        `dict`: the fields by their names in `Task`, with `transform` as a `ScoreTransform`, and `grader`, the name of the grader.

    Raises:
        TaskError: the file is missing or is not YAML, or a key or value is wrong.
    """
    data = _load(path)
    for key in data:
        if key not in KEYS:
            close = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(KEYS)}."
            raise TaskError(f"{path}: unknown key {key!r} (value {data[key]!r}); {hint}")
    for key in REQUIRED:
        _check_text(path, data, key)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", data["id"]):
        raise TaskError(f"{path}: id is {data['id']!r}; use letters, digits, '-', '_' and '.' only.")
    kind = _grader(path, data, graders or {TabularTask.grader: TabularTask})
    _check_metric(path, data, kind)
    _check_limits(path, data)
    _check_columns(path, data, kind)
    _check_files(path, data)
    value = data.get("transform", {"kind": "identity"})
    data["transform"] = read_transform(path, value, data["direction"], data["metric"], private=private)
    if "packages" in data:
        data["packages"] = tuple(data["packages"])
    return data


def _check_text(path: Path, data: dict[str, Any], key: str) -> None:
    if key not in data:
        raise TaskError(f"{path}: key {key!r} is missing; add it.")
    _check_is_text(path, key, data[key])


def _check_is_text(path: Path, key: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{path}: {key} is {value!r}; write a non-empty text (quote it if it is a number).")
    if any(0xD800 <= ord(character) < 0xE000 for character in value):
        raise TaskError(f"{path}: {key} is {value!r}, with half of a character; write it whole.")


def _grader(path: Path, data: dict[str, Any], graders: Mapping[str, type[Task]]) -> type[Task]:
    """The kind of task. `data` gets `grader`, its name, and `grader_options`."""
    value = data.pop("grader", TabularTask.grader)
    options = dict(value) if isinstance(value, dict) else {"name": value}
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in graders:
        raise TaskError(
            f"{path}: grader is {value!r}; write one of {', '.join(graders)}, or {{name: ..., ...}} with its settings."
        )
    known = graders[name].grader_keys
    if unknown := [key for key in options if key not in known]:
        has = f"has the settings {', '.join(known)}" if known else "has no settings"
        raise TaskError(f"{path}: grader has the unknown key {unknown[0]!r}; {name!r} {has}.")
    data |= {"grader": name, "grader_options": options}
    return graders[name]


def _check_columns(path: Path, data: dict[str, Any], kind: type[Task]) -> None:
    """Check the names of columns. `data` gets all keys of `COLUMNS`."""
    if "id_column" not in data and not kind.own_metric:
        raise TaskError(f"{path}: key 'id_column' is missing; add it, or write 'id_column: null' if rows have no ids.")
    if data.setdefault("id_column", None) is not None:
        _check_is_text(path, "id_column", data["id_column"])
    if "target_columns" in data:
        targets = data["target_columns"]
        if "target_column" in data:
            raise TaskError(f"{path}: target_column and target_columns are both given; write target_columns alone.")
        if not isinstance(targets, list) or not all(isinstance(name, str) and name.strip() for name in targets):
            raise TaskError(f"{path}: target_columns is {targets!r}; write a list of names such as [height, width].")
        if len(set(targets)) < len(targets):
            raise TaskError(f"{path}: target_columns is {targets!r}; write each name once.")
    elif "target_column" in data or not kind.own_metric:
        _check_text(path, data, "target_column")
        targets = [data["target_column"]]
    else:
        targets = []
    if not targets and not kind.own_metric:
        raise TaskError(f"{path}: target_columns is empty; name the columns to predict.")
    for name in targets:
        _check_is_text(path, "target_columns", name)
    if data["id_column"] in targets:
        key = "target_columns" if "target_columns" in data else "target_column"
        raise TaskError(f"{path}: id_column and {key} are both {data['id_column']!r}; they must differ.")
    data |= {"target_columns": tuple(targets), "target_column": targets[0] if targets else ""}


def _check_files(path: Path, data: dict[str, Any]) -> None:
    """Check the paths of public files. `data` gets all keys of `FILES`."""
    for key in FILES:
        name = data.setdefault(key, getattr(TaskSpec, key))
        if name is None and key != "sample_file":
            continue
        _check_is_text(path, key, name)
        if not is_inside(name):
            raise TaskError(f"{path}: {key} is {name!r}; write a path inside public/, such as tables/train.csv.")
    for key in ("metric_text", "license"):
        if data.get(key) is not None:
            _check_is_text(path, key, data[key])


def is_inside(name: str) -> bool:
    """Whether `name` is a relative path in one spelling, without `..`, that no platform takes for another one."""
    parts = name.split("/")
    return not any(part in ("", ".", "..") for part in parts) and not re.search(r"[\\:\x00-\x1f]", name)


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise TaskError(f"{path} does not exist; a task folder needs a task.yaml.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        node = compose(text, str(path))
        if node is not None:
            _check_size(path, node)
        data = None if node is None else construct(node)
    except yaml.MarkedYAMLError as error:
        where = ": ".join(filter(None, (str(path), place_of(error))))
        raise TaskError(f"{where}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise TaskError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise TaskError(f"{path} holds {type(data).__name__}, not keys and values such as `metric: accuracy`.")
    return data


def _check_size(path: Path, node: yaml.Node) -> None:
    """Refuse aliases (`*name`) that stand for far more values than the file has: a message with such a value has no end."""
    waiting, number = [node], 0
    while waiting:
        value = waiting.pop().value
        number += 1
        if number > MAX_VALUES:
            raise TaskError(f"{path} has more than {MAX_VALUES} values, aliases counted; write them without aliases.")
        if isinstance(value, list):
            waiting += [part for item in value for part in (item if isinstance(item, tuple) else (item,))]


def _check_metric(path: Path, data: dict[str, Any], kind: type[Task]) -> None:
    own = kind.own_metric and data["metric"] not in METRICS
    try:
        metric = None if own else get_metric(data["metric"])
    except TaskError as error:
        raise TaskError(f"{path}: metric: {error}") from error
    if data["direction"] not in ("maximize", "minimize"):
        raise TaskError(f"{path}: direction is {data['direction']!r}; write 'maximize' or 'minimize'.")
    if metric is not None and data["direction"] != metric.direction:
        raise TaskError(
            f"{path}: direction is {data['direction']!r}, but the metric {metric.name!r} is one to "
            f"{metric.direction}; write 'direction: {metric.direction}'."
        )


def _check_limits(path: Path, data: dict[str, Any]) -> None:
    if "time_limit_s" in data and not (is_number(data["time_limit_s"]) and 0 < data["time_limit_s"] <= LONGEST_S):
        raise TaskError(
            f"{path}: time_limit_s is {data['time_limit_s']!r}; write a positive number of seconds, at most a year."
        )
    for key, unit in (("memory_bytes", "bytes"), ("threads", "threads")):
        value = data.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST:
            raise TaskError(f"{path}: {key} is {value!r}; write a positive whole number of {unit}, at most 2**50.")
    packages = data.get("packages", [])
    if not isinstance(packages, list) or not all(isinstance(name, str) and name for name in packages):
        raise TaskError(f"{path}: packages is {packages!r}; write a list of names such as [numpy, pandas].")


def task_yaml(
    spec: TaskSpec,
    comment: str = "",
    grader: str | Mapping[str, Any] | None = None,
    leaderboard_file: str | None = None,
) -> str:
    """The text of a `task.yaml` from which `read_task_yaml` reads the fields of `spec`.

    Args:
        spec (`TaskSpec`):
            The task. Keys with their default value are left out, except those of every task.
        comment (`str`, *optional*):
            Text of the first lines.
        grader (`str` or mapping, *optional*):
            Name of the grader, or `{"name": ..., ...}` with its settings. Defaults to that of `spec` if it is a `Task`.
        leaderboard_file (`str`, *optional*):
            Name of the file in `private/` that holds the leaderboard of a transform by percentile. Without it, the scores are
            written themselves.
    """
    data: dict[str, Any] = {key: getattr(spec, key) for key in (*REQUIRED, "id_column")}
    if len(spec.target_columns) == 1:
        data["target_column"] = spec.target_column
    elif spec.target_columns:
        data["target_columns"] = list(spec.target_columns)
    data |= {
        key: getattr(spec, key)
        for key in (*FILES, "metric_text", "license")
        if getattr(spec, key) != getattr(TaskSpec, key)
    }
    data |= {key: getattr(spec, key) for key in ("time_limit_s", "memory_bytes", "threads")}
    data["packages"] = list(spec.packages)
    data["transform"] = transform_value(spec.transform, spec.metric, leaderboard_file)
    if grader is None and isinstance(spec, Task):
        grader = {"name": spec.grader, **spec.grader_options}
    if grader is not None and grader not in (TabularTask.grader, {"name": TabularTask.grader}):
        data["grader"] = grader if isinstance(grader, str) else dict(grader)
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + dump(data)
