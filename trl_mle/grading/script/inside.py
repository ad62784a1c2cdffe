"""The program that runs an evaluator inside of a sandbox. Its text is sent there; nothing imports it.

It stands in a folder with `input/` (the evaluator, its files and the submission, read-only), and reports to
`submission.csv`, the one file that a sandbox hands back. What the evaluator prints is part of the report, never the report.
"""

import ast
import contextlib
import io
import json
import os
import runpy
import sys
import traceback
from typing import Any

EVALUATOR = "@evaluator@"
SUBMISSION = "@submission@"
MOST_OUTPUT = 100_000
MOST_MESSAGE = 2_000


def main():
    home = os.getcwd()
    os.mkdir("files")
    for name in os.listdir("input"):
        os.symlink(os.path.join(home, "input", name), os.path.join("files", name))
    # A folder of its own that it may write to, in which it finds its files as it expects them.
    os.chdir("files")
    here = os.getcwd()
    script = os.path.join(here, EVALUATOR)
    with open(script, encoding="utf-8-sig") as file:
        source = file.read()
    sys.argv = [script, "--submission_path", os.path.join(here, SUBMISSION)]
    sys.path.insert(0, os.path.dirname(script))
    output, errors = io.StringIO(), io.StringIO()
    report: dict[str, Any] = {"exit": 0, "error": None, "raised": False, "message": ""}
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            report |= {"exit": 1, "message": error.code}
        elif error.code:
            report["exit"] = int(error.code)
    except BaseException as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        if isinstance(error, MemoryError):
            # Python's parser has no other word for text that is nested too deeply.
            if all(
                os.path.basename(frame.filename) != "ast.py" for frame in traceback.extract_tb(error.__traceback__)
            ):
                raise
            names = ["RecursionError"]
        report |= {
            "exit": 1,
            "error": names,
            "raised": raised_by(error, script, source),
            "message": str(error),
            "trace": traceback.format_exc()[-MOST_MESSAGE:],
        }
    report["message"] = (report["message"] or errors.getvalue().strip())[-MOST_MESSAGE:]
    report["stdout"] = output.getvalue()[:MOST_OUTPUT]
    with open(os.path.join(home, "submission.csv"), "w", encoding="utf-8", errors="replace") as file:
        json.dump(report, file)


def raised_by(error, script, source):
    """Whether a `raise` or `assert` of the evaluator itself raised `error`."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or os.path.realpath(frames[-1].filename) != os.path.realpath(script):
        return False
    lines = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Raise, ast.Assert))
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return frames[-1].lineno in lines


main()
