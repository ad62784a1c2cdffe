"""Marks that cannot change a run: statements that were added to a program write past everything that it may have replaced.

A mark is `print(<text>, end="", ...)`. It is compiled as a call that writes the text to the standard output with which the program
has started. The call needs no name, so neither `print` nor the builtins nor `sys.stdout` matter, and it raises nothing. A
milestone is written once, so that marks cannot flood the output, however often their statement runs. A program that has put
something else in the place of descriptor 1 loses its later marks, and nothing of them is in its files.
"""

from __future__ import annotations

import ast
from os import fstat, urandom, write
from types import CodeType

_LOST = (RecursionError, NameError, TypeError)
"""What a mark may raise nevertheless. Near the limit of recursion nothing can be called, and the report of a metric looks up names
that the program may have bound."""

_MOST_VALUES = 1000
"""Most values of metrics that are written."""


class SilentMarks:
    """The added statements of one program, on their way through the compiler.

    The compiler takes constants of a few types only. Placeholders go in, and [`completed`] puts objects in their place.
    """

    def __init__(self):
        # No program can have these constants of its own.
        self._call, self._lost = urandom(16).hex(), urandom(16).hex()

    def statement(self, added: ast.stmt) -> ast.stmt:
        """What is compiled in the place of `added`."""
        match added:
            case ast.Expr(value=ast.Call(args=[text], keywords=[ast.keyword("end", ast.Constant("")), *_])):
                # The compiler warns of a constant that is called, but not of an attribute of one.
                call = ast.Expr(ast.Call(ast.Attribute(ast.Constant(self._call), "__call__", ast.Load()), [text], []))
                return ast.Try([call], [ast.ExceptHandler(ast.Constant(self._lost), None, [ast.Pass()])], [], [])
        return added

    def completed(self, code: CodeType) -> CodeType:
        """`code` with objects in the place of the placeholders."""
        objects = {self._call: _writer(), self._lost: _LOST}

        def complete(code: CodeType) -> CodeType:
            return code.replace(co_consts=tuple(map(complete_constant, code.co_consts)))

        def complete_constant(constant: object) -> object:
            if isinstance(constant, CodeType):
                return complete(constant)
            return objects.get(constant, constant) if isinstance(constant, str) else constant

        return complete(code)


def _writer():
    """A function that writes to the standard output of this moment, as long as that is descriptor 1."""
    try:
        opened = fstat(1)
    except OSError:
        return lambda text: None
    marks: set[str] = set()
    values = 0

    def write_mark(text: str) -> None:
        nonlocal values
        # The last value of a metric counts, so an earlier one may come again.
        is_value = "=" in text
        if values == _MOST_VALUES if is_value else text in marks:
            return
        try:
            present = fstat(1)
            if (present.st_dev, present.st_ino) == (opened.st_dev, opened.st_ino):
                write(1, text.encode("ascii", "backslashreplace"))
                if is_value:
                    values += 1
                else:
                    marks.add(text)
        except OSError as error:
            # Without a number, it was raised by a signal handler of the program, such as that of an alarm.
            if error.errno is None:
                raise

    return write_mark
