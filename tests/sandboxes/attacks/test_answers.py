"""Attacks that look for the answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sandboxes.attacks.hostile import CALL, MEMORY, SECRET, Box, Control, halves, places

PATHS = {
    "path": "answers",
    "beside_the_public_files": "'input/../private/answers.csv'",
    "beside_the_real_public_files": "os.path.join(os.path.realpath('input'), '../private/answers.csv')",
    "own_root": "'/proc/self/root' + answers",
    "root_of_a_thread": "f'/proc/self/task/{os.getpid()}/root' + answers",
    "root_of_the_parent": "f'/proc/{os.getppid()}/root' + answers",
    "root_of_the_host": "f'/proc/{host}/root' + answers",
    "descriptor_of_the_host": "f'/proc/{host}/fd/{descriptor}'",
    "folder_of_the_host": "f'/proc/{host}/cwd/' + os.path.relpath(answers, folder)",
    "descriptor_by_name": "f'/dev/fd/{descriptor}'",
    "standard_input": "0",
}


def values(answers: str, descriptor: int) -> dict[str, object]:
    return {"answers": answers, "descriptor": descriptor, "host": os.getpid(), "folder": os.getcwd()}


def assert_kept(box: Box, control: Control, code: str, known: dict[str, object], **of_control: object) -> None:
    """The program gets the secret without the sandbox, and inside it tries and does not."""
    outside = control(code, known, **of_control)  # type: ignore[arg-type]
    assert SECRET in outside.stdout, outside.stderr
    execution = box.run(code, known)
    assert "REFUSED" in execution.stdout or "GOT" in execution.stdout, execution.stderr
    assert SECRET not in execution.stdout + execution.stderr
    assert SECRET.encode() not in (execution.submission or b"")


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_answers_are_not_read(box, control, answers, leaked, path):
    code = f"import os\nattempt(lambda: open({path}).read())"
    assert_kept(box, control, code, values(answers, leaked), stdin=answers)


READERS = {
    "os_open": "os.read(os.open(answers, os.O_RDONLY), 99)",
    "inherited_descriptor": "os.pread(descriptor, 99, 0)",
    "raw_call": "os.read(call(2, answers.encode(), 0), 99)",
    "map": "mmap.mmap(os.open(answers, os.O_RDONLY), 0, prot=mmap.PROT_READ)[:]",
    "relative_to_an_open_folder": "os.read(os.open('../private/answers.csv', 0, dir_fd=os.open('input', 0)), 99)",
    "through_a_changed_folder": "[os.fchdir(os.open('input', 0)), os.chdir('..'), open('private/answers.csv').read()]",
    "changed_mode": "[os.chmod(answers, 0o666), open(answers).read()]",
    "path_only_descriptor": "open(f'/proc/self/fd/{os.open(answers, os.O_PATH)}').read()",
    "symlink": "[os.symlink(answers, 'link'), open('link').read()]",
    "symlinked_folder": "[os.symlink(os.path.dirname(answers), 'folder'), open('folder/answers.csv').read()]",
    "hard_link": "[os.link(answers, 'hard'), open('hard').read()]",
    "copy": "[shutil.copy(answers, 'copy'), open('copy').read()]",
    "cat": "subprocess.check_output(['cat', answers])",
    "shell": "subprocess.check_output(['sh', '-c', f'read x < {answers}; echo $x; cat {answers}'])",
    "interpreter": "subprocess.check_output([sys.executable, '-S', '-c', f'print(open({answers!r}).read())'])",
    "search": "[open(os.path.join(root, name)).read() for root, _, names in os.walk(os.path.dirname(os.path.dirname("
    "answers))) for name in names]",
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_no_call_reads_the_answers(box, control, answers, leaked, reader):
    code = f"{CALL}import mmap, shutil, subprocess, sys\nattempt(lambda: {reader})"
    try:
        assert_kept(box, control, code, values(answers, leaked))
    finally:
        os.chmod(answers, 0o644)


def test_a_traceback_does_not_show_the_answers(box, control, answers, leaked):
    code = """
import runpy, traceback
try:
    runpy.run_path(answers)
except BaseException:
    print("GOT", traceback.format_exc())
"""
    assert_kept(box, control, code, values(answers, leaked))


def test_rename_does_not_move_the_answers(box, control, answers, tmp_path):
    code = "import os\nattempt(lambda: [os.rename(answers, 'mine'), open('mine').read()])"
    copy = tmp_path / "answers.csv"
    copy.write_text(SECRET)
    assert SECRET in control(code, {"answers": str(copy)}).stdout
    execution = box.run(code, {"answers": answers})
    assert "REFUSED" in execution.stdout
    assert Path(answers).read_text() == SECRET


VARIABLES = {
    "python": "dict(os.environ)",
    "proc": "open('/proc/self/environ').read()",
    "library": "getenv(b'ATTACK_ANSWERS')",
    "shell": "subprocess.check_output(['sh', '-c', 'set'])",
}


@pytest.mark.parametrize("look", VARIABLES.values(), ids=VARIABLES)
def test_environment_holds_no_answers(box, control, answers, leaked, look):
    code = f"{CALL}import subprocess\ngetenv = libc.getenv\ngetenv.restype = ctypes.c_char_p\nattempt(lambda: {look})"
    assert_kept(box, control, code, values(answers, leaked))


@pytest.mark.parametrize("process", ["{host}", "{os.getppid()}", "1"], ids=["host", "parent", "first"])
def test_environment_of_no_other_process_holds_the_hosts(box, control, answers, leaked, process):
    code = f"import os\nattempt(lambda: open(f'/proc/{process}/environ').read())"
    with open("/proc/self/environ") as file:
        own = {line.partition("=")[0] for line in file.read().split("\0") if line} - SANDBOXS_OWN
    assert own
    if process != "1":
        outside = control(code, values(answers, leaked)).stdout
        assert all(f"{name}=" in outside for name in own)
    execution = box.run(code, values(answers, leaked))
    assert "GOT" in execution.stdout or "REFUSED" in execution.stdout
    assert not any(f"\0{name}=" in execution.stdout or f"GOT {name}=" in execution.stdout for name in own)


SANDBOXS_OWN = {
    *("PATH", "LANG", "HOME", "TMPDIR", "USER", "LOGNAME", "PYTHONPATH", "PYTHONHASHSEED", "LD_LIBRARY_PATH"),
    *(name for name in os.environ if name.endswith(("_NUM_THREADS", "_MAX_CPU_COUNT")) or name.startswith("OPENBLAS")),
}
"""Names of variables that programs have from the sandbox."""


def test_every_inherited_descriptor_is_harmless(box, control, answers, leaked):
    code = """
import os
found = []
for number in range(3, 4096):
    try:
        found.append((number, os.readlink(f"/proc/self/fd/{number}"), os.pread(number, 99, 0)))
    except OSError:
        pass
print("GOT", found)
"""
    assert_kept(box, control, code, values(answers, leaked))
    assert box.run(code).stdout == "GOT []\n"


def test_standard_input_is_empty(box, control, answers):
    code = "import sys\nprint('GOT', sys.stdin.read())"
    assert SECRET in control(code, stdin=answers).stdout
    assert box.run(code).stdout.strip() == "GOT"


SEARCH = """
import gc
seen, pending = set(), [*gc.get_objects(), globals()]
found = []
while pending:
    thing = pending.pop()
    if id(thing) in seen:
        continue
    seen.add(id(thing))
    text = thing.encode("utf-8", "replace") if isinstance(thing, str) else thing
    if isinstance(text, (bytes, bytearray)):
        at = text.find(first)
        if at >= 0 and bytes(text[at + len(first) : at + len(first) + len(second)])[::-1] == second:
            found.append(thing)
    else:
        pending += gc.get_referents(thing)
print("GOT", len(found), len(seen))
"""


def test_no_object_holds_the_answers(box, control):
    known = halves(SECRET)
    assert "GOT 0 " not in control("held = [(first + second[::-1]).decode()]\n" + SEARCH, known).stdout
    assert box.run(SEARCH, known).stdout.startswith("GOT 0 ")


def test_memory_holds_no_answers(box, control):
    known = halves(SECRET)
    assert places(control("held = first + second[::-1]\n" + MEMORY, known).stdout) > 0
    assert places(box.run("held = first + second[::-1]\n" + MEMORY, known).stdout) > 0
    assert places(box.run(MEMORY, known).stdout) == 0


def test_memory_of_a_warm_worker_holds_no_answers(warm):
    known = halves(SECRET)
    assert places(warm.run("held = first + second[::-1]\n" + MEMORY, known).stdout) > 0
    assert places(warm.run(MEMORY, known).stdout) == 0


def test_memory_of_the_host_is_not_read(box, control, leaked):
    code = """
import os
def read():
    with open(f"/proc/{pid}/maps") as maps:
        low = int(next(line for line in maps if " rw-p " in line).split("-")[0], 16)
    return len(os.pread(os.open(f"/proc/{pid}/mem", os.O_RDONLY), 4096, low))
attempt(read)
"""
    assert "GOT 4096" in control(f"import os\npid = os.getpid()\n{code}").stdout
    for pid in ("host", "os.getppid()", "1"):
        execution = box.run(f"import os\npid = {pid}\n{code}", {"host": os.getpid()})
        assert "REFUSED" in execution.stdout


@pytest.mark.parametrize("call", [310, 311], ids=["process_vm_readv", "process_vm_writev"])
def test_memory_is_not_read_by_a_call(box, control, call):
    code = f"""{CALL}
mine, theirs = ctypes.create_string_buffer(16), ctypes.create_string_buffer(b"there", 16)
def vector(buffer): return (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 16)
attempt(lambda: call({call}, os.getpid(), vector(mine), 1, vector(theirs), 1, 0))
"""
    assert "GOT 16" in control(code).stdout
    assert "REFUSED" in box.run(code).stdout


SUBMISSIONS = {
    "symlink": "os.symlink(answers, 'submission.csv')",
    "chain_of_symlinks": "[os.symlink(answers, 'a'), os.symlink('a', 'submission.csv')]",
    "symlink_to_a_root": "os.symlink('/proc/self/root' + answers, 'submission.csv')",
    "symlink_to_a_descriptor": "os.symlink(f'/proc/{host}/fd/{descriptor}', 'submission.csv')",
    "relative_symlink": "os.symlink('input/../private/answers.csv', 'submission.csv')",
    "hard_link": "os.link(answers, 'submission.csv')",
    "folder_swapped": "[os.chdir('..'), os.rename(work, 'gone'), os.symlink(os.path.dirname(answers), work)]",
    "public_file_swapped": "[os.rename('input', 'gone'), os.symlink(os.path.dirname(answers), 'input'), "
    "os.symlink('input/answers.csv', 'submission.csv')]",
}


@pytest.mark.parametrize("trick", SUBMISSIONS.values(), ids=SUBMISSIONS)
def test_no_submission_holds_the_answers(box, answers, leaked, trick):
    execution = box.run(f"import os\nwork = os.getcwd()\nattempt(lambda: {trick})", values(answers, leaked))
    assert execution.submission is None
    assert SECRET not in (execution.submission_reason or "") + execution.stdout + execution.stderr


def test_a_submission_that_changes_all_the_time_holds_no_answers(box, answers):
    code = """
import os, time
if os.fork() == 0:
    while True:
        open("new", "w").write("id,y"); os.replace("new", "submission.csv")
        os.symlink(answers, "new"); os.replace("new", "submission.csv")
time.sleep(0.2)
"""
    for _ in range(5):
        execution = box.run(code, {"answers": answers})
        assert execution.status == "ok"
        assert execution.submission in (None, b"", b"id,y")


@pytest.mark.parametrize(
    "read",
    ["pandas.read_csv(answers, header=None).values.tolist()", "numpy.fromfile(answers, dtype='S1').tobytes()"],
    ids=["pandas", "numpy"],
)
def test_libraries_do_not_read_the_answers(warm, control, answers, read):
    code = f"import numpy, pandas\nattempt(lambda: {read})"
    assert SECRET in control(code, {"answers": answers}, site=True).stdout
    execution = warm.run(code, {"answers": answers})
    assert "REFUSED" in execution.stdout
    assert SECRET not in execution.stdout + execution.stderr


@pytest.mark.parametrize("what", ["home", "repository", "program_folders", "passwords"])
def test_files_of_the_host_are_not_read(box, control, scratch, tmp_path, what):
    token = tmp_path / "token"
    token.write_text("the-token-of-the-host")
    (scratch_file := scratch / "other").write_text("another-program")
    try:
        path = {
            "home": str(token),
            "repository": os.path.abspath(__file__),
            "program_folders": str(scratch_file),
            "passwords": "/etc/passwd",
        }[what]
        code = "attempt(lambda: open(path).read(64).encode().hex())"
        assert control(code, {"path": path}).succeeded
        outside = control(code, {"path": path}).stdout.split()[1]
        execution = box.run(code, {"path": path})
        assert outside not in execution.stdout
        assert "REFUSED" in execution.stdout
    finally:
        scratch_file.unlink()
