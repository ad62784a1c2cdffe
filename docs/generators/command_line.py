"""The page of the command line, from the commands themselves."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from generators.markdown import table

_USAGE = re.compile(r"(?<=\.) ((?:[A-Z-]+ )?\[?--[^\n]*?)(?=\.? *(?:\n|$))")
"""What follows the first sentence of a command whose flags belong to a script."""


def page() -> str:
    """Markdown of the page."""
    from typer.main import get_command

    from trl_mle.cli.main import app

    lines = ["# Command line\n\nErrors of a user are one line and exit code 2. `COMMAND --help` says the same.\n"]
    for path, command in commands("trl-mle", get_command(app)):
        lines.append(f"## {path}\n\n{_text(command)}\n")
        if rows := _rows(command):
            lines.append(table(["argument", "default", "meaning"], rows) + "\n")
    return "\n".join(lines)


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name in sorted(inner):
        yield from commands(f"{path} {name}", inner[name])


def undescribed() -> list[str]:
    """Arguments and commands without a help text."""
    from typer.main import get_command

    from trl_mle.cli.main import app

    found = []
    for path, command in commands("trl-mle", get_command(app)):
        found += [path] * (not command.help)
        found += [f"{path} {p.name}" for p in command.params if not getattr(p, "help", None)]
    return found


def _text(command: Any) -> str:
    text = (command.help or "").split("\f")[0].strip()
    if command.context_settings.get("ignore_unknown_options"):
        text += "\n\nIts keys are [settings](settings.md)."
        # The usage has brackets, which Markdown would take for links.
        return _USAGE.sub(r"\n\n```text\n\1\n```", text, count=1)
    return text


def _rows(command: Any) -> list[list[str]]:
    rows = []
    for parameter in command.params:
        flags = "/".join([*parameter.opts, *parameter.secondary_opts])
        name = parameter.name.upper() if parameter.param_type_name == "argument" else flags
        shown = parameter.default is not None and not callable(parameter.default)
        # The interpreter is a path of the machine that builds the site.
        value = "this interpreter" if parameter.default == sys.executable else f"`{parameter.default}`"
        default = "required" if parameter.required else value if shown else ""
        rows.append([f"`{name}`", default, getattr(parameter, "help", None) or ""])
    return rows
