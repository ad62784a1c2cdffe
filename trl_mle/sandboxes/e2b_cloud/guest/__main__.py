"""Entry point inside the virtual machine: `python -s -P -B <this folder> prepare | unpack | run ...`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from guest.commands import main

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
