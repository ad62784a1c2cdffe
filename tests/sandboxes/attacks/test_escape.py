"""Attacks on the walls: system calls that would take the sandbox down, and writes to what lies outside."""

from __future__ import annotations

import os
import platform
import resource
import stat

import pytest

from tests.sandboxes.attacks.hostile import CALL, KEY, TAG

x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers of system calls are those of x86-64")

# Each of these does something without the sandbox, as root at least, and harms nothing: a thing set to what it is, a new
# namespace for a process that ends at once.
CALLS = {
    "new_user": "checked(libc.unshare(0x10000000))",
    "new_mounts": "checked(libc.unshare(0x20000))",
    "new_network": "checked(libc.unshare(0x40000000))",
    "new_processes": "checked(libc.unshare(0x20000000))",
    "new_ipc": "checked(libc.unshare(0x08000000))",
    "new_host_name": "checked(libc.unshare(0x04000000))",
    "new_cgroups": "checked(libc.unshare(0x02000000))",
    "new_time": "checked(libc.unshare(0x80))",
    "clone_new_user": "call(56, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0)",
    "clone3_new_user": "call(435, struct.pack('8Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64) or os._exit(0)",
    "join_namespace": "checked(libc.setns(os.open('/proc/self/ns/uts', 0), 0))",
    "join_by_process": "checked(libc.setns(call(434, os.getpid(), 0), 0x04000000))",
    "chroot": "os.chroot('.')",
    "pivot_root": "[os.mkdir('d'), call(155, b'.', b'./d')]",
    "mount": "checked(libc.mount(b'none', b'input', b'tmpfs', 0, None))",
    "bind": "checked(libc.mount(b'.', b'.', None, 4096, None))",
    "remount_writable": "checked(libc.mount(None, b'/', None, 32 | 4096, None))",
    "unmount": "checked(libc.umount2(b'/dev/shm', 0))",
    "unmount_lazily": "checked(libc.umount2(b'.', 2))",
    "open_file_system": "call(430, b'tmpfs', 0)",
    "copy_mount": "call(428, -100, b'/', 1)",
    "change_mount": "call(442, -100, b'/', 0, struct.pack('4Q', 0, 1, 0, 0), 32)",
    "trace_me": "call(101, 0, 0, 0, 0)",
    "trace_attach": "call(101, 16, sleeper(), 0, 0)",
    "trace_seize": "call(101, 0x4206, sleeper(), 0, 0)",
    "bpf": "call(321, 0, struct.pack('4I16Q', 1, 4, 4, 1, *[0] * 16), 128)",
    "perf": "call(298, struct.pack('IIQ15Q', 1, 136, 1, *[0] * 15), 0, -1, -1, 0)",
    "fault_descriptor": "call(323, 0)",
    "io_uring": "call(425, 1, bytes(120))",
    "keyring": "call(250, 0, -3, 1)",
    "add_key": "call(248, b'user', TAG.encode(), b'x', 1, -1)",
    "request_key": "[call(248, b'user', TAG.encode(), b'x', 1, -2), call(249, b'user', TAG.encode(), None, -2)]",
    "system_v_memory": "[shm := call(29, KEY, 4096, 0o1600), call(31, shm, 0, None)]",
    "system_v_messages": "[queue := call(68, KEY, 0o1600), call(71, queue, 0, None)]",
    "system_v_semaphores": "[semaphore := call(64, KEY, 1, 0o1600), call(66, semaphore, 0, 0, 0)]",
    "personality": "[call(135, 0x0040000), call(135, 0)]",
    "handle": "call(304, -100, by_handle('.'), 0)",
    "module": "call(175, bytes(64), 64, b'')",
    "module_file": "call(313, os.open('main.py', 0), b'', 0)",
    "module_removed": "call(176, TAG.encode(), 0)",
    "kexec": "call(246, 0, 0, None, 0)",
    "host_name": "socket.sethostname(socket.gethostname())",
    "domain_name": "call(171, b'(none)', 6)",
    "clock": "time.clock_settime(time.CLOCK_REALTIME, time.time())",
    "time_of_day": "call(164, struct.pack('2Q', int(time.time()), 0), None)",
    "device": "os.mknod('device', 0o600 | stat.S_IFBLK, os.makedev(1, 0))",
    "character_device": "os.mknod('device', 0o600 | stat.S_IFCHR, os.makedev(1, 1))",
    "kernel_log": "call(103, 10, None, 0)",
    "accounting": "call(163, None)",
    "swap": "call(168, b'/dev/null')",
    "ports": "call(173, 0x80, 1, 0)",
    "io_privilege": "call(172, 0)",
    "watch_all_files": "call(300, 0, 0)",
    "watch_files": "call(294, 0)",
    "flags_of_a_file": "fcntl.ioctl(open('main.py'), 0x40086602, struct.pack('l', 0x40))",
    "attributes_of_a_file": "fcntl.ioctl(open('main.py'), 0x401C5820, bytes(28))",
    "pages_into_a_pipe": "call(278, os.pipe()[1], struct.pack('PN', id(HELD) + 32, 64), 1, 0)",
    "pages_between_pipes": "os.splice(os.open('main.py', 0), os.pipe()[1], 9)",
    "real_time": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    "priority": "os.setpriority(os.PRIO_PROCESS, 0, -5)",
    "owner": "[open('f', 'w').close(), os.chown('f', 12345, 12345), owned('f', 12345)]",
    "user": "os.setuid(12345)",
    "groups": "os.setgroups([12345])",
    "capability": "capability()",
    "hard_limit": "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))",
}

HELP = f"""{CALL}
import fcntl, resource, socket, stat, struct, subprocess, sys, time
HELD = bytes(64)
def sleeper():
    wait, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.closerange(0, 3)
        os.write(ready, b".")
        time.sleep(2)
        os._exit(0)
    os.read(wait, 1)  # a process that is stopped too early holds the output open
    return pid
def by_handle(path):
    handle, mount = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136), ctypes.c_int()
    call(303, -100, os.fsencode(path), handle, ctypes.byref(mount), 0)
    return handle
def owned(path, user):  # the call may say that it worked
    if os.stat(path).st_uid != user:
        raise PermissionError("Error: of the same owner as before")
def capability():
    header = struct.pack("Ii", 0x20080522, 0)
    return call(126, header, struct.pack("6I", 1 << 21, 1 << 21, 0, 0, 0, 0))
"""


@x86_64
@pytest.mark.parametrize("name", CALLS)
def test_call_is_refused(box, control, name):
    code = f"{HELP}attempt(lambda: {CALLS[name]})"
    known = {"TAG": TAG, "KEY": KEY}
    execution = box.run(code, known)
    assert "GOT" not in execution.stdout
    assert "REFUSED" in execution.stdout, execution.stderr
    assert "Error" in execution.stdout
    own_mounts = OWN_MOUNTS if name in MOUNTS else ""
    if name not in UNSAFE and not (outside := control(own_mounts + code, known)).succeeded:
        pytest.skip(f"refused, but so it is without the sandbox: {outside.stdout.strip()} {outside.stderr[-200:]}")


MOUNTS = ("mount", "bind", "remount_writable", "unmount", "unmount_lazily", "change_mount", "copy_mount", "pivot_root")
OWN_MOUNTS = f"""{CALL}
checked(libc.unshare(0x20000))
checked(libc.mount(None, b"/", None, 0x44000, None))
checked(libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, None))
"""
"""Has what is mounted without the sandbox vanish with the program."""
UNSAFE = (
    "accounting",
    "swap",
    "kexec",
    "domain_name",
    "host_name",
    "clock",
    "time_of_day",
    "module_removed",
    "pivot_root",
)
"""Not tried without the sandbox: they would change the machine."""


@x86_64
@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [("x32", 0x40000000 | 41, (1, 1, 0)), ("x32_getpid", 0x40000000 | 39, ()), ("unknown", 600, ())],
)
def test_number_of_another_table_is_refused(box, name, number, arguments):
    execution = box.run(f"{CALL}attempt(lambda: call({number}, *{arguments}))")
    assert "GOT" not in execution.stdout
    assert "REFUSED" in execution.stdout or execution.exit_code == -31


@x86_64
@pytest.mark.parametrize(("name", "number", "first"), [("getpid", 20, 0), ("socket", 359, 2), ("unshare", 310, 0x80)])
def test_entry_for_32_bit_programs_is_refused(box, control, name, number, first):
    """`int 0x80` is another table of system calls; a filter that looks at numbers alone lets it through."""
    code = f"""{CALL}
import mmap
# mov eax, number; mov ebx, first; mov ecx, 1; xor edx, edx; int 0x80; with rbx kept
code = b"\\x53\\xb8" + ({number}).to_bytes(4, "little") + b"\\xbb" + ({first}).to_bytes(4, "little")
code += b"\\xb9\\x01\\0\\0\\0\\x31\\xd2\\xcd\\x80\\x5b\\xc3"
page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
def enter():
    result = function()
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
attempt(enter)
"""
    execution = box.run(code)
    assert "GOT" not in execution.stdout
    assert "REFUSED" in execution.stdout or execution.exit_code in (-11, -31)  # SIGSEGV, SIGSYS
    if not (outside := control(code)).succeeded:
        pytest.skip(f"refused, but so it is without the sandbox: {outside.stdout.strip()} exit code {outside.code}")


@x86_64
def test_filter_holds_in_started_programs(box, control):
    code = f"{CALL}import subprocess, sys\n" + (
        "print(subprocess.run([sys.executable, '-S', '-c', inner], capture_output=True, text=True).stdout)"
    )
    inner = "import ctypes; print('RESULT', ctypes.CDLL(None, use_errno=True).unshare(0x10000000), ctypes.get_errno())"
    assert "RESULT 0 0" in control(code, {"inner": inner}).stdout
    execution = box.run(code, {"inner": inner})
    assert "RESULT -1" in execution.stdout


@x86_64
def test_filter_cannot_be_replaced(box):
    """A filter of the program's own that allows everything is added to the sandbox's, and takes nothing away."""
    code = f"""{CALL}
import struct
allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7FFF0000))
program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow))
attempt(lambda: call(317, 1, 0, program) + 1)
attempt(lambda: checked(libc.unshare(0x10000000)))
"""
    assert "GOT" not in box.run(code).stdout.splitlines()[-1]


def test_there_are_no_privileges_and_no_way_to_any(box):
    execution = box.run("attempt(lambda: open('/proc/self/status').read())")
    assert "NoNewPrivs:\t1" in execution.stdout
    # An ordinary user may not change the last one; without new privileges it means nothing.
    own = () if box.fall_back and os.geteuid() != 0 else ("CapBnd",)
    for line in ("CapInh", "CapPrm", "CapEff", "CapAmb", *own):
        assert f"{line}:\t{'0' * 16}\n" in execution.stdout


WRITES = {
    "public_file": "open('input/train.csv', 'a').write(TAG)",
    "new_public_file": "open('input/' + TAG, 'w').close()",
    "public_file_removed": "os.unlink('input/train.csv')",
    "public_file_truncated": "os.truncate('input/train.csv', 0)",
    "public_file_replaced": "[open('mine', 'w').write(TAG), os.replace('mine', 'input/train.csv')]",
    "public_file_moved": "os.rename('input/test.csv', 'mine')",
    "public_file_linked": "[os.link('input/train.csv', 'mine'), open('mine', 'a').write(TAG)]",
    "public_file_mapped": "mmap.mmap(os.open('input/train.csv', os.O_RDWR), 0)",
    "public_file_by_descriptor": "open(f'/proc/self/fd/{os.open(\"input/train.csv\", 0)}', 'a').write(TAG)",
    "answers": "open(answers, 'w').write(TAG)",
    "answers_removed": "os.unlink(answers)",
    "root": "open('/' + TAG, 'w').close()",
    "program_on_the_path": "open('/usr/local/bin/' + TAG, 'w').close()",
    "interpreter": "open(os.path.realpath(sys.executable), 'r+b')",
    "standard_library": "open(os.__file__, 'a').write('')",
    "compiled_library": "open(os.path.dirname(os.__file__) + '/__pycache__/' + TAG, 'w').close()",
    "packages": "open(packages + '/' + TAG + '.pth', 'w').close()",
    "passwords": "open('/etc/passwd', 'a').write('')",
    "timetable": "open('/var/spool/cron/crontabs/' + TAG, 'w').close()",
    "kernel_setting": "open('/proc/sys/kernel/core_pattern', 'w').write('core')",
    "kernel_trigger": "open('/proc/sysrq-trigger', 'w')",
    "disk": "open(disk, 'rb')",
    "memory_of_the_machine": "open('/dev/mem', 'rb')",
    "terminal": "open('/dev/tty', 'w')",
    "terminals": "open('/dev/ptmx', 'w')",
    "kernel_messages": "open('/dev/kmsg', 'w')",
    "control_groups": "os.mkdir('/sys/fs/cgroup/' + TAG)",
    "own_memory_score": "open('/proc/self/oom_score_adj', 'w').write('-1000')",
    "user_map": "open('/proc/self/uid_map', 'w').write('0 0 1')",
}


@pytest.mark.parametrize("name", WRITES)
def test_write_is_refused(box, task, answers, name):
    files = [*task.public_dir.iterdir(), task.folder / "private/answers.csv"]
    before = {path: path.read_bytes() for path in files}
    known = {"TAG": TAG, "answers": answers, "packages": os.path.dirname(pytest.__path__[0]), "disk": _disk()}
    execution = box.run(f"import mmap, os, sys\nattempt(lambda: {WRITES[name]})", known)
    assert not os.path.exists(os.path.join(known["packages"], f"{TAG}.pth"))
    if name == "packages" and known["packages"].startswith("/tmp/") and not box.fall_back:
        return  # the program has a /tmp of its own, and wrote there
    assert "GOT" not in execution.stdout
    assert "REFUSED" in execution.stdout
    assert {path: path.read_bytes() for path in files} == before
    assert set(task.public_dir.iterdir()) | {task.folder / "private/answers.csv"} == set(files)


def _disk() -> str:
    """A disk of this machine."""
    with os.scandir("/dev") as entries:
        disks = [entry.path for entry in entries if stat.S_ISBLK(entry.stat().st_mode)]
    return sorted(disks)[0] if disks else "/dev/sda"


CHANGES = {
    "mode": "os.chmod('input/train.csv', 0o777)",
    "mode_of_the_folder": "os.chmod('input/', 0o777)",
    "time": "os.utime('input/train.csv', (0, 0))",
    "attribute": "os.setxattr('input/train.csv', 'user.' + TAG, b'x')",
    "owner": "os.chown('input/train.csv', os.getuid(), os.getgid())",
    "other_owner": "os.chown('input/train.csv', 12345, 12345)",
    "mode_of_answers": "os.chmod(answers, 0o666)",
    "time_of_the_interpreter": "os.utime(os.path.realpath(sys.executable), None)",
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_known_of_a_file_is_not_changed(box, control, task, answers, name):
    paths = (task.public_dir, task.public_dir / "train.csv", task.folder / "private/answers.csv")

    def known():
        stats = [(os.stat(path), os.listxattr(path)) for path in paths]
        return [(stat.st_mode, stat.st_mtime_ns, stat.st_uid, stat.st_gid, names) for stat, names in stats]

    before = known()
    code = f"import os, sys\nattempt(lambda: {CHANGES[name]})"
    execution = box.run(code, {"TAG": TAG, "answers": answers})
    if not (box.fall_back and name != "attribute"):  # told that it worked
        assert "GOT" not in execution.stdout
        assert "REFUSED" in execution.stdout
    assert known() == before


def test_watching_the_answers_tells_nothing(box, control, answers):
    """`inotify` and `fanotify` say when somebody reads a file, without a right to its content."""
    code = f"""{CALL}
import time
watch = checked(libc.inotify_init1(2048))
attempt(lambda: checked(libc.inotify_add_watch(watch, answers.encode(), 0xFFF)))
"""
    assert control(code, {"answers": answers}).succeeded
    assert "GOT" not in box.run(code, {"answers": answers}).stdout


def test_a_core_dump_is_not_written(box, control):
    """A limit of 0 would not keep the kernel from handing one to a program that collects them: 1 does."""
    limit = "import resource\nprint('GOT', resource.getrlimit(resource.RLIMIT_CORE))\n"
    lower = f"{limit}resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n{limit}"
    by_prlimit = f"{lower}resource.prlimit(0, resource.RLIMIT_CORE, (0, 0))\n{limit}"
    raw = (
        f"{CALL}import struct\ncall(160, 4, struct.pack('2Q', 0, 0))\n{limit}"
        if os.uname().machine == "x86_64"
        else limit
    )
    assert control(by_prlimit).stdout.splitlines()[-1] == "GOT (0, 0)"
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:  # who may have none cannot ask for 1
        assert set(box.run(by_prlimit + raw).stdout.splitlines()) == {"GOT (1, 1)"}
    execution = box.run("import os\nos.abort()")
    assert execution.exit_code == -6


def test_a_thread_is_confined_as_its_program_is(box, answers):
    code = """
import os, threading
def look():
    attempt(lambda: open(answers).read())
    attempt(lambda: os.chroot("."))
for _ in range(3):
    thread = threading.Thread(target=look); thread.start(); thread.join()
"""
    execution = box.run(code, {"answers": answers})
    assert "GOT" not in execution.stdout
    assert execution.stdout.count("REFUSED") == 6
