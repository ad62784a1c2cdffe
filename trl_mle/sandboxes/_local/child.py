"""The process of the program itself: confines itself, then runs the code as `__main__`."""

from __future__ import annotations

import os
import signal
import time
from typing import NoReturn

from . import kernel, landlock, rlimits, seccomp
from .grants import of_program
from .interpreter import execute, prepare
from .plan import Plan, keep_descriptors, report

PROGRAM = "main.py"
SETUP_FAILED = 125


def run(plan: Plan) -> NoReturn:
    """Confine this process to `plan` and run its code. Never returns.

    Reports `started` (monotonic seconds) with the CPU seconds spent so far, or `fault` and the reason.
    """
    code = SETUP_FAILED
    try:
        work = plan.work.inside
        try:
            _settle(plan)
            _confine(plan)
            _check_public_files()
            prepare(work, PROGRAM, plan.settled.packages, plan.settled.linked, int(plan.limits["threads"]))
            report(plan.reports, started=time.monotonic(), setup_cpu_s=time.process_time())
        except BaseException as error:
            report(plan.reports, fault=f"a program could not be confined: {type(error).__name__}: {error}")
            raise
        os.close(plan.reports)
        code = execute(plan.code, plan.source, work, PROGRAM)
    finally:
        os._exit(code)


def _settle(plan: Plan) -> None:
    """Own session, own standard streams, own folder."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, standard in ((null, 0), (plan.stdout, 1), (plan.stderr, 2)):
        os.dup2(source, standard)
    keep_descriptors(plan.reports)
    os.umask(0o022)
    os.chdir(plan.work.inside)
    if not plan.worker.layers.private_root:
        os.symlink(plan.public, "input")
    os.mkdir("tmp", 0o700)
    with open(PROGRAM, "wb") as file:
        file.write(plan.source)


def _confine(plan: Plan) -> None:
    layers = plan.worker.layers
    rlimits.apply(plan.limits, own_user=layers.namespaces)
    if layers.privileges:
        kernel.drop_bounding_capabilities()
        kernel.forbid_new_privileges()
    if layers.landlock:
        own = of_program(plan.work.inside, plan.public, layers.private_root, layers.private_proc)
        landlock.restrict(layers.landlock, [*plan.settled.grants, *own])
    if layers.privileges:
        kernel.drop_capabilities()
        kernel.allow_own_proc_files()
    if layers.seccomp:
        seccomp.restrict()


def _check_public_files() -> None:
    """Files that the confined program cannot read are the sandbox's fault, not the program's."""
    for entry in os.scandir("input"):
        if entry.is_file():
            with open(entry.path, "rb"):
                pass
        elif entry.is_dir():
            os.listdir(entry.path)
