"""The fenced code blocks of the documentation: what each one needs, and what of its text can be checked without running it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        *(path for folder in ("start", "tutorials", "concepts") for path in ROOT.glob(f"docs/{folder}/*.md")),
    ]
)
"""Pages whose every command is run, or says what it needs."""
ALL_PAGES = sorted({*PAGES, *ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md"})
LANGUAGES = ("bash", "python")
"""Languages of blocks that a reader runs."""
SHOWN = ("text", "yaml", "mermaid", "bibtex")
"""Languages of blocks that show something."""
_FENCE_LINE = re.compile(r"^(?P<before>[ \t>]*)(?:`{3,}|~{3,})", re.MULTILINE)
_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<language>\w*) *(?P<marks>[^\n`]*)\n(?P<code>.*?)^(?P=fence) *$", re.MULTILINE | re.DOTALL
)
_SCRIPTS = ("grpo", "async-grpo", "sft", "evaluate", "rescore")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Marks follow the language: `slow` runs with the slow tests, `small` with a tiny policy in place of the printed one,
    `needs=...` is not run, and `test=PATH` is run by another test.
    """

    page: Path
    line: int
    language: str
    marks: tuple[str, ...]
    code: str

    @property
    def needs(self) -> str | None:
        """What the block needs and tests do not have."""
        return next((mark.removeprefix("needs=") for mark in self.marks if mark.startswith("needs=")), None)

    @property
    def test(self) -> str | None:
        """The test that runs the block."""
        return next((mark.removeprefix("test=") for mark in self.marks if mark.startswith("test=")), None)

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that a reader runs, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text[: match.start()].count("\n") + 1,
            match["language"],
            tuple(match["marks"].split()),
            match["code"],
        )
        for match in _FENCE.finditer(text)
        if match["language"] in LANGUAGES
    ]


def unknown_blocks(page: Path) -> list[str]:
    """Blocks that `blocks` would pass over although a reader may run them: of another language, or not at the start of a line."""
    text = page.read_text(encoding="utf-8")
    found = [match["language"] or "no language" for match in _FENCE.finditer(text)]
    outside = _FENCE.sub("", text)
    return [language for language in found if language not in (*LANGUAGES, *SHOWN)] + _FENCE_LINE.findall(outside)


def commands(code: str) -> list[list[str]]:
    """The words of each `trl-mle` command and `accelerate launch` of a bash block."""
    found = []
    for line in code.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # a line of a here document
            continue
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words[:1] == ["trl-mle"] or words[:2] == ["accelerate", "launch"]:
            found.append([word for word in words if word != "&"])
    return found


def wrong_words(words: list[str]) -> list[str]:
    """Flags, recipes and files that a command names and that do not exist."""
    from trl_mle.scripts.settings import recipe_path

    if words[0] == "accelerate":
        return [
            word
            for word in words
            if word.startswith(("recipes/", "accelerate_configs/")) and not Path(ROOT, word).is_file()
        ]
    command, flags = _known_flags(tuple(words[1:]))
    if command is None:
        return words[1:2]
    wrong = [
        word for word in words if word.startswith("-") and word.partition("=")[0] not in flags and not _is_number(word)
    ]
    if command in _SCRIPTS and "--config" in words:
        recipe = words[words.index("--config") + 1]
        wrong += [] if Path(ROOT, recipe_path(recipe)).is_file() else [recipe]
    return wrong


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-\d+(\.\d+)?", word) is not None


def _known_flags(words: tuple[str, ...]) -> tuple[str | None, frozenset[str]]:
    """Name of the command that `words` begin with, and its flags."""
    command, names = _app(), []
    for word in words:
        inner = getattr(command, "commands", None)
        if inner is None or word not in inner:
            break
        command, names = inner[word], [*names, word]
    own = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    if not names:
        return ("", frozenset(own)) if words and words[0] in own else (None, frozenset())
    if names[0] == "quickstart":
        return "quickstart", frozenset({*_script_flags("grpo"), "--agent"})
    if names[0] in _SCRIPTS:
        return names[0], _script_flags(names[0])
    return (None if hasattr(command, "commands") else " ".join(names)), frozenset({*own, "--help"})


@cache
def _app():
    from typer.main import get_command

    from trl_mle.cli.main import app

    return get_command(app)


@cache
def _script_flags(script: str) -> frozenset[str]:
    from trl import ModelConfig, SFTConfig

    from trl_mle.scripts.arguments import MLEArguments
    from trl_mle.scripts.async_grpo import PolicyArguments
    from trl_mle.scripts.demonstrations import DemonstrationArguments
    from trl_mle.scripts.evaluate_arguments import EvaluateArguments
    from trl_mle.scripts.launch import LAUNCHER_OPTIONS
    from trl_mle.scripts.rescore import RescoreArguments
    from trl_mle.scripts.settings import make_parser
    from trl_mle.training import AsyncDurationAwareConfig, DurationAwareConfig

    classes = {
        "grpo": (MLEArguments, DurationAwareConfig, ModelConfig),
        "async-grpo": (MLEArguments, AsyncDurationAwareConfig, PolicyArguments),
        "sft": (DemonstrationArguments, SFTConfig, ModelConfig),
        "evaluate": (EvaluateArguments,),
        "rescore": (RescoreArguments,),
    }[script]
    parser = make_parser(script, classes)
    launcher = {"-n", *(f"--{name}" for name in (*LAUNCHER_OPTIONS, "accelerate_config", "config"))}
    return frozenset({*parser._option_string_actions, *launcher})
