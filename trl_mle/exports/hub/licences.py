"""Identifiers of licences, as the Hub writes them in the header of a card."""

from __future__ import annotations

import re

from trl_mle.errors import ConfigError

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,49}")


def check_licence(licence: str) -> None:
    """Raise `ConfigError` if `licence` is no identifier of the Hub."""
    if not _LICENCE.fullmatch(licence):
        raise ConfigError(
            f"`license` is {licence!r} (`--license`); write an identifier of the Hub, such as apache-2.0, cc-by-4.0 or other."
        )
