"""The page of settings: every key of a recipe, from the dataclasses that define it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

from generators.markdown import linked, table


class Setting(NamedTuple):
    """One key of a recipe, which is a flag too."""

    name: str
    type: str
    default: str
    description: str
    """Empty if nobody has described it, which `tests/docs/test_references.py` refuses."""


class Section(NamedTuple):
    """Settings of one dataclass."""

    heading: str
    text: str
    settings: list[Setting]


def sections() -> list[Section]:
    """All settings of the project, each under the class that defines it. Those of TRL are left out."""
    return [*_run_sections(), *_trainer_sections(), *_command_sections()]


def page() -> str:
    """Markdown of the page."""
    text = (
        "# Settings\n\nA key stands in the YAML file of `--config`, and is a flag of the same name: `--improve_fraction 0.5`. "
        "Flags win over the file. `trl-mle grpo --help` lists these keys with all those of TRL and transformers.\n"
    )
    for section in sections():
        rows = ([f"`{s.name}`", f"`{s.type}`", f"`{s.default}`", linked(s.description)] for s in section.settings)
        text += f"\n## {section.heading}\n\n{section.text}\n\n{table(['key', 'type', 'default', 'meaning'], rows)}\n"
    return text


def _run_sections() -> Iterator[Section]:
    """`MLEArguments`: its own fields, then those that it takes from the configurations of the stages."""
    from trl_mle.scripts.arguments import STAGES, MLEArguments, _keys

    taken = {key.name for config in STAGES for key in _keys(config).values()}
    own = [field for field in dataclasses.fields(MLEArguments) if field.name not in taken]
    yield Section("The run", "Of `trl-mle grpo`, `async-grpo` and `evaluate`.", _settings(MLEArguments, own))
    by_name = {field.name: field for field in dataclasses.fields(MLEArguments)}
    shown: set[str] = set()
    for config in STAGES:
        fields = [by_name[key.name] for key in _keys(config).values() if key.name not in shown]
        shown |= {field.name for field in fields}
        text = f"In Python: `{config.__name__}`. {_first_sentence(config)}"
        yield Section(_words(config.__name__), text, _settings(MLEArguments, fields))


def _trainer_sections() -> Iterator[Section]:
    from trl import GRPOConfig

    from trl_mle.training import AsyncDurationAwareConfig, DurationAwareConfig
    from trl_mle.training.async_grpo.trl_imports import AsyncGRPOConfig

    for config, base, command in (
        (DurationAwareConfig, GRPOConfig, "grpo"),
        (AsyncDurationAwareConfig, AsyncGRPOConfig, "async-grpo"),
    ):
        of_trl = {field.name for field in dataclasses.fields(base)}
        fields = [field for field in dataclasses.fields(config) if field.name not in of_trl]
        text = f"Of `trl-mle {command}`. In Python: `{config.__name__}`, a `trl.{base.__name__}` with these fields."
        yield Section(f"The trainer: {command}", text, _settings(config, fields))


def _command_sections() -> Iterator[Section]:
    from trl_mle.scripts.arguments import MLEArguments
    from trl_mle.scripts.async_grpo import PolicyArguments
    from trl_mle.scripts.demonstrations import DemonstrationArguments
    from trl_mle.scripts.evaluate_arguments import EvaluateArguments
    from trl_mle.scripts.rescore import RescoreArguments

    text = "Of `trl-mle async-grpo`. `trl-mle grpo` and `sft` have all keys of `trl.ModelConfig`."
    yield Section("The policy: async-grpo", text, _settings(PolicyArguments, dataclasses.fields(PolicyArguments)))
    of_runs = {field.name for field in dataclasses.fields(MLEArguments)}
    fields = [field for field in dataclasses.fields(EvaluateArguments) if field.name not in of_runs]
    yield Section("Evaluation", "Of `trl-mle evaluate`.", _settings(EvaluateArguments, fields))
    fields = [field for field in dataclasses.fields(RescoreArguments) if field.name not in of_runs]
    yield Section("Scores of an earlier run", "Of `trl-mle rescore`.", _settings(RescoreArguments, fields))
    text = "Of `trl-mle sft`, beside those of `trl.SFTConfig`."
    yield Section(
        "Demonstrations", text, _settings(DemonstrationArguments, dataclasses.fields(DemonstrationArguments))
    )


def _settings(config: type, fields: Any) -> list[Setting]:
    hints, descriptions = get_type_hints(config), _descriptions(config)
    return [
        Setting(
            field.name,
            _type_text(hints[field.name]),
            _default(field),
            descriptions.get(field.name) or _plain(field.metadata.get("help", "")),
        )
        for field in fields
    ]


def _descriptions(config: type) -> dict[str, str]:
    """Field -> text of the docstrings of a class and of its bases."""
    from trl_mle.scripts.arguments import _field_docs

    found: dict[str, str] = {}
    for base in reversed([base for base in config.__mro__ if base.__module__.startswith("trl_mle")]):
        found |= _field_docs(base)
    return found


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return repr(field.default_factory()) if field.default_factory is not dataclasses.MISSING else "required"


def _type_text(hint: Any) -> str:
    text = hint.__name__ if isinstance(hint, type) and not getattr(hint, "__args__", None) else str(hint)
    return re.sub(r"\b(?:typing|collections\.abc|trl_mle(?:\.\w+)*)\.", "", text)


def _plain(text: str) -> str:
    return text.replace("%%", "%")


def _first_sentence(config: type) -> str:
    return re.sub(r"\[(`\w+`)\]", r"\1", (config.__doc__ or "").strip().split("\n")[0])


def _words(name: str) -> str:
    """Heading from the name of a class: `E2BConfig` -> `E2B`, `PoolConfig` -> `Pool`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Config"))
