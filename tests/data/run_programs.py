"""Run Python programs, each in its own folder and forked process, from one process that has imported the libraries.

Called as `python run_programs.py folder...`; each folder holds `main.py`. Writes `stdout`, `stderr` and `exit_code`
beside it. Forking after the imports makes a run cost 0.1 s instead of 2 s.
"""

import os
import runpy
import sys
import traceback
from pathlib import Path

import numpy
import pandas  # noqa: F401
import sklearn.ensemble
import sklearn.linear_model
import sklearn.model_selection  # noqa: F401


def run(folder: str) -> None:
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        Path(folder, "exit_code").write_text(str(os.waitstatus_to_exitcode(status)))
        return
    os.chdir(folder)
    for name, number in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    numpy.random.seed(0)
    code = 0
    try:
        sys.argv = ["main.py"]
        runpy.run_path("main.py", run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        run(argument)
