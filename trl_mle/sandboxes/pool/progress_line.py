"""The live line of a pool: on a terminal only, on stderr, while programs are under way."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Literal

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from trl_mle.sandboxes.pool.counts import Counts


class LiveLine:
    """Shows `Counts.line()` in the last line of the terminal, where a progress bar may be: it comes back afterwards.

    Args:
        counts ([`Counts`]):
            What is shown.
        when (`str`):
            `"auto"`: on a terminal, in the first process of the machine. `"on"`: on a terminal. `"off"`: never.
    """

    def __init__(self, counts: Counts, when: Literal["auto", "on", "off"], console: Console | None = None):
        self._counts = counts
        self._when = when
        self._given = console
        self._live: Live | None = None

    @cached_property
    def _console(self) -> Console:  # made on first use: a pool that has not run anything can be pickled
        return Console(stderr=True) if self._given is None else self._given

    @cached_property
    def shown(self) -> bool:
        """Whether there is a line at all."""
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        return self._console.is_terminal and (self._when == "on" or (self._when == "auto" and first))

    def start(self) -> None:
        """Show it, if it is not there."""
        if self.shown and self._live is None:
            self._console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
            self._live = Live(
                console=self._console,
                get_renderable=lambda: Text(self._counts.line(), no_wrap=True, overflow="ellipsis", style="dim"),
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def stop(self) -> None:
        """Take it away."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
