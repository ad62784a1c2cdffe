"""The live line of a pool: on stderr, on a terminal only, while programs are under way."""

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
    """Shows `Counts.line()` in the last line of the terminal. A progress bar that was there comes back afterwards.

    Args:
        counts ([`Counts`]):
            The numbers that are shown.
        when (`str`):
            `"auto"`: on a terminal, in the first process of the machine. `"on"`: on a terminal. `"off"`: never.
        console (`Console`, *optional*):
            Defaults to stderr.
    """

    def __init__(self, counts: Counts, when: Literal["auto", "on", "off"], console: Console | None = None):
        self._counts = counts
        self._when = when
        self._given_console = console
        self._live: Live | None = None

    @cached_property
    def _console(self) -> Console:  # made on first use: a pool that has not run anything can be pickled
        return self._given_console or Console(stderr=True)

    @cached_property
    def shown(self) -> bool:
        """Whether this process shows a line at all."""
        # One line per machine: the processes of a launch share the terminal.
        first = os.environ.get("LOCAL_RANK", "0") == "0"
        return self._console.is_terminal and (self._when == "on" or (self._when == "auto" and first))

    def start(self) -> None:
        """Show the line unless it is shown already."""
        if self.shown and self._live is None:
            # Clear what a progress bar has left in this line.
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
        """Remove the line."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()
