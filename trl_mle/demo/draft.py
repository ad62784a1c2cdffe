"""`Draft`: a completion in parts, so that a mistake can be made in one place without touching the others."""

from __future__ import annotations

from dataclasses import dataclass

Import = tuple[str, str]
"""Module and name, as in `from module import name`."""


@dataclass(frozen=True)
class Draft:
    """The lines of a program by their purpose. All parts use the names `X`, `y`, `X_test` and `model`."""

    plan: str
    """The text before the program."""
    names: frozenset[Import]
    """Imports from scikit-learn."""
    load: tuple[str, ...]
    target: tuple[str, ...]
    features: tuple[str, ...]
    split: tuple[str, ...]
    model: tuple[str, ...]
    fit: tuple[str, ...]
    evaluate: tuple[str, ...]
    refit: tuple[str, ...]
    predict: tuple[str, ...]
    write: tuple[str, ...]

    def code(self) -> str:
        """The program."""
        parts = (
            self.load,
            (*self.target, *self.features),
            (*self.split, *self.model, *self.fit, *self.evaluate),
            (*self.refit, *self.predict, *self.write),
        )
        body = "\n\n".join("\n".join(part) for part in parts if part)
        return f"{self._imports(body)}\n\n{body}\n"

    def completion(self) -> str:
        """Plan and program, in the form in which a policy writes them."""
        return f"{self.plan}\n\n```python\n{self.code()}```"

    def _imports(self, body: str) -> str:
        modules: dict[str, list[str]] = {}
        for module, name in sorted(self.names):
            modules.setdefault(module, []).append(name)
        lines = ["import numpy as np"] if "np." in body else []
        lines += ["import pandas as pd"]
        lines += [f"from {module} import {', '.join(names)}" for module, names in modules.items()]
        return "\n".join(lines)
