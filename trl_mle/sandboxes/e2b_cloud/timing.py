"""Durations of `E2BSandbox` that are no settings of users."""

from __future__ import annotations

from dataclasses import dataclass

SLOWEST_BYTES_PER_S = 256 * 1024
"""Slowest transfer that is waited for, in bytes per second."""


@dataclass(frozen=True)
class E2BTiming:
    """Durations that only tests change, in seconds."""

    startup_s: float = 180.0
    """Longest time from a new VM to one that can run programs."""
    answer_s: float = 60.0
    """Longest time from the wall-clock limit of a program to the reply of its VM."""
    poll_s: float = 1.0
    """Pause between two looks for a reply."""
    spare_s: float = 10.0
    """How long a call of the SDK may outlast its own time-out."""
    kill_s: float = 10.0
    """Time-out of one request to kill a VM."""
    kill_again_s: float = 0.5
    """Pause before the next request to kill a VM."""
    list_s: float = 15.0
    """Time-out of listing the account's VMs."""
    sweep_s: float = 1.0
    """Pause between two searches for lost VMs when the sandbox closes."""
    creation_s: float = 20.0
    """How long a cancelled start waits for the VM that it has asked for, to kill it."""
    capacity_wait_s: float = 120.0
    """How long a program waits for a VM if the account has no capacity for another one."""
    grow_s: float = 30.0
    """Time without a refusal by the account after which one more VM is tried for."""

    @property
    def margin_s(self) -> float:
        """How much longer than a program's wall-clock limit the session of its VM must last."""
        return 3 * self.answer_s

    def overhead_s(self, request_s: float, sent_bytes: int, unpacked_bytes: int, received_bytes: int) -> float:
        """Sum of the time-outs of all steps of a program except its execution.

        Args:
            request_s (`float`): time-out of one request, in seconds.
            sent_bytes, received_bytes (`int`): what is sent to a new VM, and what comes back.
            unpacked_bytes (`int`): the part of `sent_bytes` that is an archive.
        """
        creation_s = request_s + self.kill_s
        preparation_s = request_s + self.startup_s + self.answer_s + self.spare_s
        files_s = request_s + self.answer_s + self.spare_s
        program_s = 2 * request_s + 1.5 * self.answer_s + request_s
        transfers_s = (sent_bytes + unpacked_bytes + received_bytes) / SLOWEST_BYTES_PER_S
        return self.capacity_wait_s + 2 * creation_s + preparation_s + files_s + program_s + transfers_s
