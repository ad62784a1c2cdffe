"""A figure as a PNG file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from trl_mle.whole_files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_png(figure: Figure, path: Path) -> None:
    """Write `figure` to `path`, whole or not at all.

    Raises:
        ConfigError: the file cannot be written.
    """
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    write_whole(path, image.getvalue())
