from __future__ import annotations

from collections.abc import Iterator

import pytest

from trl_mle import ExperienceStore


@pytest.fixture
def store(tmp_path) -> Iterator[ExperienceStore]:
    with ExperienceStore(tmp_path / "experience.sqlite") as store:
        yield store
