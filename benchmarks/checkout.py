"""The repository that a benchmark belongs to. This module makes its `tests.support` and `trl_mle` importable.

Python puts a script's own folder on `sys.path`, and not the one above it. So a benchmark imports this module ahead of `tests`.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
