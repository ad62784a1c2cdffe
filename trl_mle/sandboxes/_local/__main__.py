"""Entry point: `python -s -P -B <this file> <descriptor of the socket to the host>`."""

import os
import sys

# The parent folder is on the path for this import only: a program must not find the sandbox's modules there.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from _local.worker import main

del sys.path[0]

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
