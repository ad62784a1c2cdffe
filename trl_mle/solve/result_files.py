"""`ResultFiles`: `solution.py` and `submission.csv` of the best attempt."""

from __future__ import annotations

from pathlib import Path

from trl_mle.whole_files import write_whole

SOLUTION = "solution.py"
SUBMISSION = "submission.csv"


class ResultFiles:
    """The two files in the folder of a search. Each is replaced as a whole.

    The submission is written first. If a kill falls between the two, `solution.py` is not the program of the best attempt, and
    `belong_to` says so.
    """

    def __init__(self, out: Path):
        self.solution = out / SOLUTION
        self.submission = out / SUBMISSION

    def write(self, code: str, submission: bytes) -> None:
        """Replace both files.

        Raises:
            ConfigError: a file cannot be written.
        """
        write_whole(self.submission, submission)
        write_whole(self.solution, code)

    def belong_to(self, code: str) -> bool:
        """Whether both files are those of the program `code`."""
        try:
            return self.submission.is_file() and self.solution.read_bytes() == code.encode("utf-8", "replace")
        except OSError:
            return False
