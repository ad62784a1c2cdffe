"""Entry point: `python -s -P -B <this file> <descriptor of the socket to the host>`."""

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location

PACKAGE = "trl_mle_runner"
"""The name of this package in a worker. `trl_mle` itself is never imported there."""

# Loaded by its path: a folder on `sys.path` would offer the sandbox's modules to programs under names of their own.
_FOLDER = os.path.dirname(os.path.abspath(__file__))
_spec = spec_from_file_location(PACKAGE, os.path.join(_FOLDER, "__init__.py"), submodule_search_locations=[_FOLDER])
assert _spec is not None and _spec.loader is not None
sys.modules[PACKAGE] = module_from_spec(_spec)
_spec.loader.exec_module(sys.modules[PACKAGE])

from trl_mle_runner.processes.worker import main  # type: ignore[import-not-found]  # noqa: E402 - only now it exists

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
