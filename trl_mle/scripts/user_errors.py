"""User errors without a traceback: one line on stderr and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from trl_mle.errors import UserError
from trl_mle.yaml_values import place_of


@contextmanager
def user_errors(parsing: bool = False) -> Iterator[None]:
    """Show a `UserError` of the block as `error: ...` on stderr and exit with 2.

    Args:
        parsing (`bool`, *optional*, defaults to `False`):
            Whether settings are parsed in the block. Then every `ValueError`, `TypeError`, `OSError` and YAML error comes from
            what the user wrote, and is shown like a `UserError`. Elsewhere they are bugs and keep their traceback.
    """
    caught: tuple[type[Exception], ...] = (UserError,)
    if parsing:
        caught += (ValueError, TypeError, OSError, yaml.YAMLError)
    try:
        yield
    except caught as error:
        from trl_mle.prompts.quoting import clean_output

        # Messages quote what tasks, programs and files of others hold.
        sys.stderr.write(f"error: {clean_output(_message(error))}\n")
        raise SystemExit(2) from None


def _message(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem_mark.name}, {place_of(error)}: not valid YAML: {error.problem}"
    if isinstance(error, yaml.YAMLError):
        return f"the configuration file is not valid YAML: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
