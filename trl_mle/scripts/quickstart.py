"""The whole system on a CPU in some minutes: train the demo policy, then improve it by reinforcement learning."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

STEPS = {False: (("sft", "sft"), ("grpo", "grpo")), True: (("sft", "sft-agent"), ("grpo", "agent"))}
"""Whether an agent is trained -> scripts in order, each with the name of its recipe in `quickstart/`."""
TITLES = {
    "sft": "a demo policy learns to write programs",
    "grpo": "reinforcement learning improves it",
}
"""Script -> what it does, shown before it: the first lines of its own come after half a minute or more."""
AGENT = "--agent"
"""Flag that trains an agent in place of a policy of one turn."""
ENVIRONMENT = {
    # One thread per process: the policy is so small that more threads cost more than they gain.
    "OMP_NUM_THREADS": "1",
    # glibc returns large buffers to the kernel after every step by default; that costs a sixth of training on a CPU.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
}
"""Set for the scripts, except if the user has set them."""


def quickstart(flags: Sequence[str] = ()) -> int:
    """Run the scripts one after the other, each in a process of its own, and return the first exit code that is not 0.

    Args:
        flags (sequence of `str`, *optional*):
            Flags for the last script, such as `--max_steps 2`, and `--agent`.
    """
    steps = STEPS[AGENT in flags]
    for number, (script, recipe) in enumerate(steps, 1):
        print(
            f"{number} of {len(steps)}: {TITLES[script]} (trl-mle {script} --config quickstart/{recipe})", flush=True
        )
        command = [sys.executable, "-m", f"trl_mle.scripts.{script}", "--config", f"quickstart/{recipe}"]
        if recipe == steps[-1][1]:
            command += [flag for flag in flags if flag != AGENT]
        if code := _run(command):
            return code
    return 0


def _run(command: Sequence[str]) -> int:
    """Run `command` and return its exit code, or 130 if Ctrl-C ended it."""
    interrupted = False
    with subprocess.Popen(command, env={**ENVIRONMENT, **os.environ}) as process:
        while True:
            try:
                code = process.wait()
                return 130 if interrupted else code
            except KeyboardInterrupt:
                # The terminal sends Ctrl-C to the script, too. The script closes its sandbox and writes its report, so it gets
                # the time that it needs: `subprocess.run` would kill it after a quarter of a second.
                interrupted = True
