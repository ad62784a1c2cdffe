"""What the runner, the parser and the sandboxes rely on in CPython beyond its documentation.

A new version of Python fails here as a readable list.
"""

from __future__ import annotations

import ast
import atexit
import importlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import textwrap
import threading
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

import pytest

# --- the end of an interpreter


def script(code: str) -> str:
    command = [sys.executable, "-I", "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_threads_are_joined_by_a_private_function():
    assert callable(threading._shutdown)
    assert script("""
        import threading, time
        threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
        threading._shutdown()
        print("joined", flush=True)
        import os
        os._exit(0)
    """).split() == ["thread", "joined"]


def test_exit_handlers_run_once_by_a_private_function():
    assert callable(atexit._run_exitfuncs)
    assert script("""
        import atexit
        atexit.register(print, "handler")
        atexit._run_exitfuncs()
        print("end")
    """).split() == ["handler", "end"]


def test_an_error_in_an_exit_handler_is_not_raised():
    assert script("""
        import atexit, sys
        sys.stderr = sys.stdout
        atexit.register(lambda: 1 / 0)
        try:
            atexit._run_exitfuncs()
        except ZeroDivisionError:
            pass
        print("end")
    """).endswith("end\n")


# --- a forked interpreter that looks like a fresh one


def test_multiprocessing_keeps_the_first_working_directory():
    from multiprocessing import process, spawn

    assert isinstance(process.ORIGINAL_DIR, str)
    assert "ORIGINAL_DIR" in Path(spawn.__file__).read_text(encoding="utf-8"), "children start there"


@pytest.mark.parametrize("name", ["argv", "orig_argv", "path", "meta_path", "path_hooks"])
def test_lists_of_the_interpreter_can_be_replaced_in_place(name):
    assert isinstance(getattr(sys, name), list)


def test_modules_are_kept_in_the_order_of_their_import():
    assert list(reversed(sys.modules.values()))
    assert type(sys.modules) is dict


def test_attributes_of_a_main_module():
    """`execute` makes them by hand."""
    names = script("print(sorted(name for name in globals() if name.startswith('__')))")
    assert set(ast.literal_eval(names)) <= {
        *("__annotations__", "__builtins__", "__cached__", "__doc__", "__file__", "__loader__", "__name__"),
        *("__package__", "__spec__"),
    }
    assert SourceFileLoader("__main__", "x.py").name == "__main__"


def test_stdout_can_be_made_line_buffered():
    assert (
        script("""
        import sys
        sys.stdout.reconfigure(line_buffering=True)
        print(sys.stdout.line_buffering)
    """)
        == "True\n"
    )


# --- imports


def test_the_import_statement_calls_finders_through_one_function():
    """`AllowedFinder` tells an import from `importlib.util.find_spec` by the name of the frame two levels up."""

    def callers(ask) -> list[str]:
        names = []

        class Finder(PathFinder):
            @classmethod
            def find_spec(cls, fullname, path=None, target=None):
                names.append(sys._getframe(2).f_code.co_name)

        sys.meta_path.insert(0, Finder)
        try:
            ask()
        except ModuleNotFoundError:
            pass
        finally:
            sys.meta_path.remove(Finder)
        return names

    assert callers(lambda: importlib.import_module("no_such_module_here")) == ["_find_and_load_unlocked"]
    assert "_find_and_load_unlocked" not in callers(lambda: importlib.util.find_spec("no_such_module_here"))


def test_frames_of_the_import_system_are_left_out_of_tracebacks():
    """CPython knows them by their file name, which `AllowedFinder.find_spec` therefore has."""
    output = script("""
        import sys, traceback

        class Finder:
            @classmethod
            def find_spec(cls, fullname, path=None, target=None):
                raise ModuleNotFoundError("reason", name=fullname)

        function = Finder.find_spec.__func__
        function.__code__ = function.__code__.replace(co_filename="<frozen importlib._bootstrap>")
        sys.meta_path.insert(0, Finder)
        try:
            import no_such_module_here
        except ModuleNotFoundError as error:
            print([frame.name for frame in traceback.extract_tb(error.__traceback__)])
    """)
    assert output == "['<module>']\n"


def test_finders_and_hooks_of_the_import_system_are_known_by_their_module():
    system = {"_frozen_importlib", "_frozen_importlib_external", "zipimport"}
    command = [sys.executable, "-I", "-S", "-c", "import sys; print([f.__module__ for f in sys.meta_path])"]
    finders = ast.literal_eval(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert set(finders) <= system
    assert PathFinder.__module__ in system
    assert {hook.__module__ for hook in sys.path_hooks} & system


def test_the_library_and_its_archive_have_the_usual_names():
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    zipped = os.path.join(sys.base_prefix, sys.platlibdir, f"python{version}.zip")
    assert ast.literal_eval(script("import sys; print(sys.path)"))[0] == zipped


# --- syntax trees


def test_nodes_with_a_position_name_its_attributes():
    """`line_numbers` copies the positions of one tree to another."""
    assert set(ast.Expr._attributes) == {"lineno", "col_offset", "end_lineno", "end_col_offset"}
    assert "lineno" not in ast.Module._attributes


def test_equal_code_has_equal_dumps_whatever_its_position():
    one, other = ast.parse("x = f(1)").body[0], ast.parse("\n\nx  =  f( 1 )").body[0]
    assert ast.dump(one) == ast.dump(other)


@pytest.mark.parametrize(
    "code", ["(" * 300 + ")" * 300, "x = " + "-" * 100_000 + "1", "\0", "a" + ".b" * 100_000]
)  # fmt: skip
def test_what_no_compiler_takes_is_an_error_that_is_caught(code):
    errors = "SyntaxError, ValueError, RecursionError, MemoryError"
    parse = f"import ast, sys\ntry:\n    ast.parse(sys.stdin.read())\nexcept ({errors}):\n    pass"
    done = subprocess.run([sys.executable, "-I", "-c", parse], input=code, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


# --- archives


def test_archives_can_be_extracted_without_links_that_lead_out():
    assert callable(tarfile.data_filter)
    assert hasattr(tarfile.TarFile, "extraction_filter")
