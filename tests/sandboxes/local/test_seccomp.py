"""The filter of system calls, for both architectures, read by a small interpreter of its instructions."""

from __future__ import annotations

import errno
import os

import pytest

from trl_mle.sandboxes.local.runner.isolation import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
machines = pytest.mark.parametrize("machine", MACHINES)


def verdict(
    machine: str,
    number: int,
    arguments: tuple[int, ...] = (),
    architecture: int | None = None,
    own: bool = True,
    oldest: int | None = None,
    truncation: bool = False,
) -> int:
    """What the kernel would do with a system call."""
    instructions = list(seccomp._instructions(machine, own, own, oldest, truncation))
    arguments = (*arguments, 0, 0, 0, 0)
    native = MACHINES[machine][1] if architecture is None else architecture
    data = {0: number, 4: native}
    for argument, value in enumerate(arguments):
        data |= {16 + 8 * argument: value & 0xFFFFFFFF, 20 + 8 * argument: value >> 32 & 0xFFFFFFFF}
    place, word = 0, 0
    while True:
        code, if_true, if_false, value = instructions[place]
        place += 1
        if code == 0x06:
            return value
        if code == 0x20:
            word = data[value]
        elif code == 0x54:
            word &= value
        else:
            met = {0x15: word == value, 0x35: word >= value, 0x45: bool(word & value)}[code]
            place += if_true if met else if_false


def error(number: int) -> int:
    return 0x00050000 | number


@machines
@pytest.mark.parametrize("own", [True, False])
def test_every_jump_stays_within_the_program(machine, own):
    instructions = list(seccomp._instructions(machine, own, own, truncation=not own))
    assert len(instructions) < 4096
    for place, (code, if_true, if_false, _) in enumerate(instructions):
        if code not in (0x06, 0x20, 0x54):
            assert place + 1 + max(if_true, if_false) < len(instructions)
            assert max(if_true, if_false) < 256
    assert instructions[-1] == (0x06, 0, 0, ALLOW)


@machines
def test_listed_calls_fail_and_others_pass(machine):
    column = MACHINES[machine][0]
    listed = {numbers[column] for numbers in seccomp._NUMBERS.values()} - {None}
    special = {call[column] for call in (seccomp._FALLOCATE, seccomp._SET_AFFINITY, seccomp._CLONE, seccomp._CLONE3,
                                         seccomp._SOCKET, seccomp._SOCKETPAIR, seccomp._IOCTL, seccomp._PERSONALITY,
                                         seccomp._MMAP, seccomp._SET_OPTION, seccomp._SENDFILE)}  # fmt: skip
    attributes = {numbers[column] for numbers in seccomp._ATTRIBUTES.values()}
    for number in range(470):
        expected = error(errno.EPERM) if number in listed else ALLOW
        if number in attributes:
            expected = error(errno.EOPNOTSUPP)
        if number not in special:
            assert verdict(machine, number) == expected, number


@machines
def test_arguments_decide(machine):
    column = MACHINES[machine][0]
    clone, socket, ioctl = seccomp._CLONE[column], seccomp._SOCKET[column], seccomp._IOCTL[column]
    assert verdict(machine, clone, (0x3D0F00,)) == ALLOW  # a thread
    assert verdict(machine, clone, (0x11,)) == ALLOW  # a fork
    for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, clone, (0x11 | flag,)) == error(errno.EPERM)
    assert verdict(machine, seccomp._CLONE3[column]) == error(errno.ENOSYS)
    assert verdict(machine, socket, (1, 1)) == ALLOW
    assert {verdict(machine, socket, (family, 1)) for family in (0, 2, 10, 16, 17, 38, 40)} == {error(errno.EACCES)}
    assert {verdict(machine, ioctl, (0, request)) for request in (0x5412, 0x541C, 0x40086602, 0x401C5820)} == {
        error(errno.EPERM)
    }
    assert verdict(machine, ioctl, (0, 0x5401)) == ALLOW
    assert verdict(machine, seccomp._FALLOCATE[column]) == error(errno.EOPNOTSUPP)
    assert verdict(machine, seccomp._SENDFILE[column]) == error(errno.ENOSYS)
    personality = seccomp._PERSONALITY[column]
    assert {verdict(machine, personality, (kind,)) for kind in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)} == {ALLOW}
    assert verdict(machine, personality, (0x0400000,)) == error(errno.EPERM)  # READ_IMPLIES_EXEC


@machines
def test_memory_that_no_process_accounts_for_is_refused(machine):
    mmap = seccomp._MMAP[MACHINES[machine][0]]
    assert {verdict(machine, mmap, (0, 4096, 3, flags)) for flags in (0x22, 0x02, 0x01, 0x4022)} == {ALLOW}
    assert {verdict(machine, mmap, (0, 4096, 3, flags)) for flags in (0x21, 0x23, 0x8021)} == {error(errno.EPERM)}


@machines
def test_without_namespaces_nothing_of_others_is_reached(machine):
    column = MACHINES[machine][0]
    socket, connect, prlimit = (call[column] for call in (seccomp._SOCKET, seccomp._CONNECT, seccomp._PRLIMIT))
    for kind in (1, 5, 1 | 0o4000, 5 | 0o2000000):
        assert verdict(machine, socket, (1, kind), own=False) == ALLOW
    for kind in (2, 3, 2 | 0o2000000):
        assert verdict(machine, socket, (1, kind), own=False) == error(errno.EACCES)
        assert verdict(machine, socket, (1, kind)) == ALLOW
    assert verdict(machine, connect, own=False) == error(errno.EACCES)
    priority = seccomp._OF_KINDS_OF_PROCESSES["setpriority"]
    assert verdict(machine, prlimit, (0,), own=False) == ALLOW
    assert verdict(machine, prlimit, (7,), own=False) == error(errno.EPERM)
    for own in (
        False,
        True,
    ):  # which cores a program has is decided by the sandbox, and honest ones ask by their own number
        for target in (0, 7, 2**22):
            assert verdict(machine, seccomp._SET_AFFINITY[column], (target,), own=own) == error(0)
    assert verdict(machine, priority[column], (0, 0), own=False) == ALLOW
    assert verdict(machine, priority[column], (0, 7), own=False) == error(errno.EPERM)


@machines
def test_changes_of_files_have_no_effect_where_they_would_reach_those_of_the_host(machine):
    column = MACHINES[machine][0]
    for numbers in seccomp._MODES_TIMES_AND_OWNERS.values():
        if numbers[column] is not None:
            assert verdict(machine, numbers[column], own=False) == error(0)
            assert verdict(machine, numbers[column]) == ALLOW


@machines
def test_a_file_is_emptied_only_by_who_may_write_it(machine):
    column = MACHINES[machine][0]
    for name, (*numbers, place) in seccomp._OPENS.items():
        if numbers[column] is None:
            assert (name, machine) == ("open", "aarch64")
            continue
        before = (0,) * place
        for flags in (os.O_RDONLY | os.O_TRUNC, os.O_TRUNC | os.O_CREAT):
            assert verdict(machine, numbers[column], (*before, flags), truncation=True) == error(errno.EACCES)
            assert verdict(machine, numbers[column], (*before, flags)) == ALLOW
        for flags in (os.O_RDONLY, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, os.O_RDWR | os.O_TRUNC):
            assert verdict(machine, numbers[column], (*before, flags), truncation=True) == ALLOW
    assert verdict(machine, seccomp._TRUNCATE[column], truncation=True) == error(errno.EACCES)
    assert verdict(machine, seccomp._OPENAT2[column], truncation=True) == error(errno.ENOSYS)


@machines
@pytest.mark.parametrize("own", [True, False])
def test_the_limit_of_core_dumps_stays_as_it_is(machine, own):
    column = MACHINES[machine][0]
    setting, both = seccomp._SET_LIMIT[column], seccomp._PRLIMIT[column]
    assert verdict(machine, setting, (4, 0x7F0000001000), own=own) == error(0)
    for values in (0x7F0000001000, 0x7F0000000000, 0x1000):
        assert verdict(machine, both, (0, 4, values), own=own) == error(0)
    assert verdict(machine, both, (0, 4, 0, 0x1000), own=own) == ALLOW
    assert verdict(machine, both, (0, 7, 0x1000), own=own) == ALLOW
    assert verdict(machine, setting, (7, 0x1000), own=own) == ALLOW
    assert verdict(machine, both, (7, 7, 0), own=False) == error(errno.EPERM)


@machines
def test_a_program_hides_no_process_and_takes_no_core(machine):
    number = seccomp._PRCTL[MACHINES[machine][0]]
    for own in (True, False):
        assert verdict(machine, number, (62, 1), own=own) == error(errno.EPERM)
        assert verdict(machine, number, (4, 1), own=own) == ALLOW
        assert verdict(machine, number, (15, 0), own=own) == ALLOW
        assert {verdict(machine, number, (4, value), own=own) for value in (0, 2)} == {error(errno.EPERM)}


@machines
def test_the_send_buffer_of_a_socket_stays_as_it_is(machine):
    option = seccomp._SET_OPTION[MACHINES[machine][0]]
    assert verdict(machine, option, (3, 1, 7)) == error(0)
    for level, name in ((1, 8), (1, 20), (6, 7), (0, 7)):
        assert verdict(machine, option, (3, level, name)) == ALLOW


def test_other_entries_into_the_kernel_are_closed():
    assert verdict("x86_64", 41, (1,), architecture=0x40000003) == KILL  # i386
    assert verdict("aarch64", 41, (1,), architecture=0x40000028) == KILL  # 32-bit arm
    assert verdict("x86_64", 0x40000000 | 41, (1,)) == error(errno.ENOSYS)  # x32


@pytest.mark.parametrize("machine", ["riscv64", "ppc64le"])
def test_another_processor_has_no_filter_and_that_is_said(machine, monkeypatch):
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*real[:4], machine)))
    assert not seccomp.supported()


@machines
@pytest.mark.parametrize("call", seccomp._TO_PROCESSES)
def test_signals_go_to_no_process_with_a_smaller_number(machine, call):
    number, own = seccomp._TO_PROCESSES[call][MACHINES[machine][0]], 500
    for target in (0, own, own + 1, 2**22, -own, -own - 1, -(2**22)):
        assert verdict(machine, number, (target, 9), own=False, oldest=own) == ALLOW
    for target in (1, own - 1, -1, -own + 1):
        assert verdict(machine, number, (target, 9), own=False, oldest=own) == error(errno.EPERM)
        assert verdict(machine, number, (target, 9), own=False) == ALLOW  # then Landlock does it, or namespaces


@machines
def test_the_kernel_sends_no_signals_in_the_programs_name(machine):
    fcntl, ioctl = (call[MACHINES[machine][0]] for call in (seccomp._FCNTL, seccomp._IOCTL))
    calls = [(fcntl, command) for command in (8, 10, 15)] + [(ioctl, request) for request in (0x8901, 0x8902)]
    for number, command in calls:
        for high in (0, 1 << 32, 0xFFFFFFFF << 32):  # the kernel does not read the high word
            assert verdict(machine, number, (3, high | command, 7), own=False, oldest=500) == error(errno.EPERM)
        assert verdict(machine, number, (3, command, 7), own=False) == ALLOW
    for number, command in ((fcntl, 4), (fcntl, 9), (ioctl, 0x8903), (ioctl, 0x8904), (ioctl, 0x5452)):
        assert verdict(machine, number, (3, command, 7), own=False, oldest=500) == ALLOW
