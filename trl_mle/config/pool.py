"""Settings of the queue in front of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trl_mle.config.base import Keys, check_choice, check_least, check_seconds


@dataclass(frozen=True)
class PoolConfig:
    """Parameters of the queue in front of the sandbox, for every backend.

    Args:
        concurrency (`int`, *optional*):
            Programs that are with the sandbox at the same time, at most as many as it has workers. Defaults to that number.
        retries (`int`, *optional*, defaults to `2`):
            Retries of a program after an infrastructure fault. Only a program that had not started is retried, so no program
            runs twice.
        open_s (`float`, *optional*, defaults to `900.0`):
            Seconds that the sandbox may take to start.
        queue_s (`float`, *optional*):
            Seconds that a program may wait in the queue. Defaults to no limit.
        slack_s (`float`, *optional*, defaults to `300.0`):
            Seconds beyond the program's wall-clock limit, and beyond what the backend itself allows for transfers and waits
            (`Sandbox.overhead_s`), within which the sandbox has to answer.
        cancel_s (`float`, *optional*, defaults to `30.0`):
            Seconds that a cancelled call waits for the sandbox to stop its program.
        failures (`int`, *optional*, defaults to `8`):
            Faults in a row after which the sandbox counts as down.
        cool_down_s (`float`, *optional*, defaults to `15.0`):
            Seconds until a sandbox that is down is tried with one program. The pause doubles after each failed try, up to ten
            times this value.
        outage_s (`float`, *optional*, defaults to `600.0`):
            Seconds that programs wait for a sandbox that is down before they fail.
        progress (`str`, *optional*, defaults to `"auto"`):
            Live line of running programs on a terminal: `"auto"` (first process of a machine), `"on"` or `"off"`.
    """

    KEYS: ClassVar[Keys] = {
        "retries": "infrastructure_retries",
        "queue_s": "sandbox_queue_s",
        "outage_s": "sandbox_outage_s",
        "progress": "sandbox_progress",
    }

    concurrency: int | None = None
    retries: int = 2
    open_s: float = 900.0
    queue_s: float | None = None
    slack_s: float = 300.0
    cancel_s: float = 30.0
    failures: int = 8
    cool_down_s: float = 15.0
    outage_s: float = 600.0
    progress: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self):
        check_least(self, concurrency=1, retries=0, failures=1)
        check_seconds(self, "open_s", "queue_s", "slack_s", "cancel_s", "cool_down_s", "outage_s")
        check_choice("progress", self.progress, ("auto", "on", "off"))
