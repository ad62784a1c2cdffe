"""Reading and writing of `task.yaml`. Reading is strict: every error names the file, the key, the value and the fix."""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import Any

import yaml

from trl_mle.errors import TaskError
from trl_mle.grading import get_metric
from trl_mle.types import ScoreTransform, TaskSpec

REQUIRED = ("id", "title", "metric", "direction", "id_column", "target_column")
OPTIONAL = ("time_limit_s", "memory_bytes", "threads", "packages", "transform")
TRANSFORM_KEYS = ("kind", "worst", "best")


class _StrictLoader(yaml.SafeLoader):
    """A YAML loader that rejects a key that occurs twice; PyYAML would silently use the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen and isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} occurs twice", key_node.start_mark
                )
            seen.add(key_node.value if isinstance(key_node, yaml.ScalarNode) else id(key_node))
        return super().construct_mapping(node, deep)


def read_task_yaml(path: Path) -> dict[str, Any]:
    """Read and check a `task.yaml`.

    Returns:
        `dict`: the fields by their names in `TaskSpec`, with `transform` as a `ScoreTransform`.

    Raises:
        TaskError: the file is missing or is not YAML, or a key or value is wrong.
    """
    data = _load(path)
    for key in data:
        if key not in REQUIRED + OPTIONAL:
            close = difflib.get_close_matches(str(key), REQUIRED + OPTIONAL, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(REQUIRED + OPTIONAL)}."
            raise TaskError(f"{path}: unknown key {key!r} (value {data[key]!r}); {hint}")
    for key in REQUIRED:
        if key not in data:
            raise TaskError(f"{path}: key {key!r} is missing; add it.")
        if not isinstance(data[key], str) or not data[key].strip():
            raise TaskError(f"{path}: {key} is {data[key]!r}; write a non-empty text (quote it if it is a number).")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", data["id"]):
        raise TaskError(f"{path}: id is {data['id']!r}; use letters, digits, '-', '_' and '.' only.")
    _check_metric(path, data)
    _check_limits(path, data)
    if data["id_column"] == data["target_column"]:
        raise TaskError(f"{path}: id_column and target_column are both {data['id_column']!r}; they must differ.")
    data["transform"] = _transform(path, data)
    if "packages" in data:
        data["packages"] = tuple(data["packages"])
    return data


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TaskError(f"{path} does not exist; a task folder needs a task.yaml.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read: {error}") from error
    try:
        data = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise TaskError(f"{path}:{where} not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TaskError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise TaskError(f"{path} holds {type(data).__name__}, not keys and values such as `metric: accuracy`.")
    return data


def _check_metric(path: Path, data: dict[str, Any]) -> None:
    try:
        metric = get_metric(data["metric"])
    except TaskError as error:
        raise TaskError(f"{path}: metric: {error}") from error
    if data["direction"] not in ("maximize", "minimize"):
        raise TaskError(f"{path}: direction is {data['direction']!r}; write 'maximize' or 'minimize'.")
    if data["direction"] != metric.direction:
        raise TaskError(
            f"{path}: direction is {data['direction']!r}, but the metric {metric.name!r} is one to "
            f"{metric.direction}; write 'direction: {metric.direction}'."
        )


def _check_limits(path: Path, data: dict[str, Any]) -> None:
    if "time_limit_s" in data and not (_is_number(data["time_limit_s"]) and data["time_limit_s"] > 0):
        raise TaskError(f"{path}: time_limit_s is {data['time_limit_s']!r}; write a positive number of seconds.")
    for key, unit in (("memory_bytes", "bytes"), ("threads", "threads")):
        value = data.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise TaskError(f"{path}: {key} is {value!r}; write a positive whole number of {unit}.")
    packages = data.get("packages", [])
    if not isinstance(packages, list) or not all(isinstance(name, str) and name for name in packages):
        raise TaskError(f"{path}: packages is {packages!r}; write a list of names such as [numpy, pandas].")


def _transform(path: Path, data: dict[str, Any]) -> ScoreTransform:
    value = data.get("transform", {"kind": "identity"})
    if not isinstance(value, dict) or "kind" not in value:
        raise TaskError(f"{path}: transform is {value!r}; write for example {{kind: linear, worst: 500, best: 100}}.")
    for key in value:
        if key not in TRANSFORM_KEYS:
            raise TaskError(f"{path}: transform has the unknown key {key!r}; known keys: {', '.join(TRANSFORM_KEYS)}.")
    kind, worst, best = value["kind"], value.get("worst"), value.get("best")
    if kind not in ("identity", "linear", "log"):
        raise TaskError(f"{path}: transform.kind is {kind!r}; write 'identity', 'linear' or 'log'.")
    if kind == "identity":
        if worst is not None or best is not None:
            raise TaskError(f"{path}: transform.kind 'identity' takes no worst and best; write 'kind: linear'.")
        return ScoreTransform()
    for key, number in (("worst", worst), ("best", best)):
        if number is None or not _is_number(number):
            raise TaskError(f"{path}: transform.{key} is {number!r}; write the raw score as a finite number.")
        if kind == "log" and number <= 0:
            raise TaskError(f"{path}: transform.{key} is {number!r}; 'log' needs positive scores (or 'linear').")
    worst, best = float(worst), float(best)  # type: ignore[arg-type]
    if worst == best or (best > worst) != (data["direction"] == "maximize"):
        raise TaskError(
            f"{path}: transform.worst is {worst!r} and transform.best {best!r}, but the direction is "
            f"{data['direction']!r}; exchange them or choose two different scores."
        )
    return ScoreTransform(kind, worst, best)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def task_yaml(spec: TaskSpec, comment: str = "") -> str:
    """The text of a `task.yaml` from which `read_task_yaml` reads the fields of `spec`. `comment` becomes its first lines."""
    transform = spec.transform
    data: dict[str, Any] = {key: getattr(spec, key) for key in REQUIRED + OPTIONAL if key != "transform"}
    data["packages"] = list(spec.packages)
    data["transform"] = {"kind": transform.kind}
    if transform.kind != "identity":
        data["transform"] |= {"worst": transform.worst, "best": transform.best}
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
