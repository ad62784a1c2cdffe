"""`benchmarks/structure.py` knows the files of this checkout."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_hard_algorithm_has_all_of_its_files_in_this_checkout():
    """A file that was split off and is missing from the list would take its code out of the figure."""
    spec = importlib.util.spec_from_file_location("structure", ROOT / "benchmarks/structure.py")
    structure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(structure)
    for name, versions in structure.HARD.items():
        files = structure.hard_files(ROOT / structure.PACKAGE, versions)
        assert files == [ROOT / structure.PACKAGE / path for path in versions[0]], name
    assert len(structure.hard_files(ROOT / structure.PACKAGE, structure.HARD["supervisor"])) == 2
