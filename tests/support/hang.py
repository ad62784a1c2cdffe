"""How long a test waits before it takes something for a hang."""

HANG_S = 60.0
"""A hang is what lasts longer than any load of the machine, in seconds. Below it, seconds say nothing about the program."""
