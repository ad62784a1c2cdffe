"""`training` is a leaf: any TRL reward function can use the trainer, because it imports no stage of this package."""

from __future__ import annotations

import pytest

from tests.test_layering import PACKAGE, imports, part_of

FILES = sorted((PACKAGE / "training").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_training_imports_only_types_and_errors(path):
    assert {part_of(module) for module in imports(path)} <= {None, "training", "types", "errors"}
