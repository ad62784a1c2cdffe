"""Griffe extension: docstrings in the style of transformers, as Griffe's parser of Google's style reads them."""

from __future__ import annotations

from typing import Any

from griffe import Extension

from generators.markdown import plain_docstring


class PlainDocstrings(Extension):
    """Rewrites every docstring when it is loaded."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of a class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = plain_docstring(obj.docstring.value)
