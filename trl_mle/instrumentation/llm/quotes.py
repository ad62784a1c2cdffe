"""Quotes: the statement that an answer means when it copies a line of the program or names a variable."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from trl_mle.instrumentation.analysis.budget import spend, walk
from trl_mle.special_tokens import escape_code

_REMARK = re.compile(r"(?<!\s)\s+#.*")  # looks at each space once, however many there are
_LONG = 8
_LEFT_OUT = re.compile(r"\.\.\.|…")


def statements_by_line(tree: ast.Module) -> dict[int, ast.stmt]:
    """Line -> the statement that "after this line" means: the last one on it, a compound one by its header."""
    by_line: dict[int, ast.stmt] = {}
    statements = [node for node in walk(tree) if isinstance(node, ast.stmt)]
    for node in sorted(statements, key=lambda node: (node.lineno, node.col_offset)):
        body = getattr(node, "body", None) or getattr(node, "cases", None)
        end = node.end_lineno or node.lineno
        if body:
            first = getattr(body[0], "lineno", None) or body[0].pattern.lineno  # a case has no position of its own
            end = max(node.lineno, first - 1)
        by_line.update(dict.fromkeys(range(node.lineno, end + 1), node))
    return by_line


class Quotes:
    """Finds what was copied from one program.

    Args:
        lines (`list[str]`):
            The program's lines.
        statements (`dict[int, ast.stmt]`):
            Line number -> the statement that "after this line" means.
    """

    def __init__(self, lines: list[str], statements: dict[int, ast.stmt]):
        self._statements = statements
        self._all = {_plain(line) for line in lines}
        self._lines = [(_plain(lines[number - 1]), number) for number in sorted(statements) if number <= len(lines)]

    def find(self, quote: str) -> ast.stmt | None:
        """The statement of the first line that is `quote`; else begins with it; else of the longest that it begins with; else
        of the first that holds it, if it is long.

        Spaces, the kind of quotes, comments at the end and what follows `...` do not matter.
        """
        wanted = _plain(_LEFT_OUT.split(quote, maxsplit=1)[0])
        if not re.search(r"\w", wanted):
            return None
        spend(4 * len(self._lines))
        exact = [number for line, number in self._lines if line == wanted]
        longer = [number for line, number in self._lines if _begins(line, wanted)]
        shorter = [
            (-len(line), number) for line, number in self._lines if re.search(r"\w", line) and _begins(wanted, line)
        ]
        around = [number for line, number in self._lines if len(wanted) >= _LONG and _holds(line, wanted)]
        numbers = exact or longer or [number for _, number in sorted(shorter)] or around
        return self._statements[numbers[0]] if numbers else None

    def is_line(self, quote: str) -> bool:
        """Whether the program has the line `quote`. Comments are lines, too."""
        return _plain(quote) in self._all

    def setting(self, name: str) -> ast.stmt | None:
        """The last statement that assigns the variable `name`."""
        spend(len(self._statements))
        nodes = [node for node in self._statements.values() if name in _targets(node)]
        return max(nodes, key=lambda node: (node.lineno, node.col_offset), default=None)


def only_target(statement: ast.stmt | None) -> str | None:
    """The variable that the assignment `statement` sets, if it sets one."""
    names = list(_targets(statement))
    return names[0] if len(names) == 1 else None


def _targets(statement: ast.stmt | None) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        targets = [statement.target]
    for target in targets:
        for node in target.elts if isinstance(target, (ast.Tuple, ast.List)) else (target,):
            if isinstance(node, ast.Name):
                yield node.id


def _plain(line: str) -> str:
    line = escape_code(line)  # a model copies what the prompt shows, or what it stands for
    return " ".join(_REMARK.sub("", line.strip(" \t`\r\n")).replace("'", '"').split())


def _begins(text: str, start: str) -> bool:
    """Whether `text` begins with `start`, and not in the middle of a word."""
    return text.startswith(start) and not _within_word(text, len(start))


def _holds(text: str, part: str) -> bool:
    """Whether `part` stands in `text`, and not in the middle of a word."""
    start = text.find(part)
    return start >= 0 and not _within_word(text, start) and not _within_word(text, start + len(part))


def _within_word(text: str, position: int) -> bool:
    return re.fullmatch(r"\w\w", text[max(position - 1, 0) : position + 1]) is not None
