"""The package as a command."""

import subprocess
import sys

from trl_mle import __version__


def test_python_m_is_the_command():
    command = [sys.executable, "-m", "trl_mle", "--version"]
    assert __version__ in subprocess.run(command, capture_output=True, text=True, check=True).stdout
