"""The layers of isolation of one worker, as a record that travels to the host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layers:
    """What confines the programs of one worker."""

    landlock: int = 0
    """Version of Landlock; 0 if the kernel has none."""
    namespaces: bool = False
    """Own user, PID, network and IPC namespaces."""
    private_root: bool = False
    """Own mount namespace, in which only the files exist that programs need."""
    private_proc: bool = False
    """Own `/proc`, which shows only the program's processes."""
    seccomp: bool = False
    """A filter of system calls."""
    privileges: bool = False
    """No capabilities and no way to new ones."""

    @property
    def proc(self) -> str:
        """Which `/proc` a private root has: `"own"`, `"machine"` or `"none"`.

        The machine's `/proc` shows all processes, and through them all files, so Landlock must guard it.
        """
        return "own" if self.private_proc else "machine" if self.landlock else "none"
