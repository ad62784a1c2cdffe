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
from trl_mle.types import LARGEST, LONGEST_S, ScoreTransform, TaskSpec
from trl_mle.yaml_values import compose, construct, dump, place_of

REQUIRED = ("id", "title", "metric", "direction", "id_column", "target_column")
OPTIONAL = ("time_limit_s", "memory_bytes", "threads", "packages", "transform")
TRANSFORM_KEYS = ("kind", "worst", "best")


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
        if any(0xD800 <= ord(character) < 0xE000 for character in data[key]):
            raise TaskError(f"{path}: {key} is {data[key]!r}, with half of a character; write it whole.")
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
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise TaskError(f"{path} does not exist; a task folder needs a task.yaml.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        node = compose(text, str(path))
        data = None if node is None else construct(node)
    except yaml.MarkedYAMLError as error:
        where = ": ".join(filter(None, (str(path), place_of(error))))
        raise TaskError(f"{where}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
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
    if "time_limit_s" in data and not (_is_number(data["time_limit_s"]) and 0 < data["time_limit_s"] <= LONGEST_S):
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
    if kind == "log" and (min(worst, best) < 1e-300 or math.log(worst) == math.log(best)):
        raise TaskError(
            f"{path}: transform.worst is {worst!r} and transform.best {best!r}, of which 'log' has no use; write 'kind: linear'."
        )
    if not math.isfinite(best - worst):
        raise TaskError(f"{path}: transform.worst is {worst!r} and transform.best {best!r}, too far from each other.")
    return ScoreTransform(kind, worst, best)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def task_yaml(spec: TaskSpec, comment: str = "") -> str:
    """The text of a `task.yaml` from which `read_task_yaml` reads the fields of `spec`. `comment` becomes its first lines."""
    transform = spec.transform
    data: dict[str, Any] = {key: getattr(spec, key) for key in REQUIRED + OPTIONAL if key != "transform"}
    data["packages"] = list(spec.packages)
    data["transform"] = {"kind": transform.kind}
    if transform.kind != "identity":
        data["transform"] |= {"worst": transform.worst, "best": transform.best}
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + dump(data)
