"""Answers of a model -> claims. An answer is lines of the program, or the program with plain marks."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Iterator
from typing import NamedTuple

from trl_mle.instrumentation import fallbacks
from trl_mle.instrumentation.analysis.budget import walk
from trl_mle.instrumentation.llm.difference import describe_difference
from trl_mle.instrumentation.llm.plain_marks import PlainMark, as_plain_mark
from trl_mle.instrumentation.llm.prompt import AnswerFormat
from trl_mle.instrumentation.llm.quotes import Quotes, only_target, statements_by_line
from trl_mle.instrumentation.verify import parse
from trl_mle.special_tokens import unescape
from trl_mle.types import MILESTONES, PROGRAM_METRICS

MAX_ANSWER_CHARS = 64 * 1024
"""Longer answers are not looked at."""
_MAX_CLAIMS = 60
_MAX_LINES = 200
_BEGINNINGS = tuple(f"{name}:" for name in (*MILESTONES, *PROGRAM_METRICS))
_FENCE = re.compile(r"^[ \t]*```[\w+-]*[ \t]*$", re.MULTILINE)
_NAME_FIRST = re.compile(r"[-*\s`]*(\w+)`?\s*[:=]\s*(.*)")
_LINE_FIRST = re.compile(r"[-*\s]*(?:after\s+)?(?:line\s+)?(\d+)\s*[:|]\s*`?(\w+)`?\s*(.*)", re.IGNORECASE)
_PLACES = re.compile(r"(?:lines?\s+)?(\d{1,6}(?:\s*,\s*\d{1,6})*)(?![\w.])(.*)", re.IGNORECASE)
_NONE = re.compile(r"(?:none|null|n/?a|never|no|-|0)?(?:[.\s(].*)?", re.IGNORECASE)


class Rejected(Exception):
    """An answer that cannot be used.

    Args:
        kind (`str`):
            One of `fallbacks.LLM_KINDS`.
        reason (`str`):
            The reason.
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Claim(NamedTuple):
    """That a milestone is reached, or a metric known, right after a statement of the original program."""

    name: str
    """One of `MILESTONES` or `PROGRAM_METRICS`."""
    statement: ast.stmt | None
    """`None` at the start of a suite, where nothing has been done yet."""
    variable: str | None = None
    """For a metric: the variable that holds it; `None` where the answer names something else."""


def read_answer(text: str, tree: ast.Module, lines: list[str], answer_format: AnswerFormat) -> list[Claim]:
    """What the answer `text` claims about the program `tree`, whose text is `lines`.

    Raises:
        Rejected: the answer does not have the form that was asked for, or the program in it is another one.
    """
    if len(text) > MAX_ANSWER_CHARS:
        raise Rejected(fallbacks.TRUNCATED, f"the answer has {len(text)} characters")
    claims = read_lines(text, tree, lines) if answer_format == "lines" else read_rewrite(text, tree)
    if len(claims) > _MAX_CLAIMS:
        raise Rejected(fallbacks.NOT_AN_ANSWER, f"the answer makes {len(claims)} claims")
    return claims


def read_lines(text: str, tree: ast.Module, lines: list[str]) -> list[Claim]:
    """Claims from lines such as `loaded_data: train = pd.read_csv(path)`, `evaluated_model: none`, `validation_score: acc`.

    Repaired: a heading, code fences, bullets, backticks, spaces, the kind of quotes, a line that is copied in part; line
    numbers (`loaded_data: 12`, `12: loaded_data`, `validation_score: 20 acc`). A line that the program does not have says
    that the milestone is reached, and not where; of several lines each is a claim. With a line of any other form the whole
    answer is refused.
    """
    statements = statements_by_line(tree)
    last = max(statements, default=0)
    quotes = Quotes(lines, statements)
    claims: list[Claim] = []
    name = ""
    answers = [line.strip() for line in _FENCE.sub("", text).splitlines() if line.strip()]
    if len(answers) > _MAX_LINES:
        raise Rejected(fallbacks.NOT_AN_ANSWER, f"the answer has {len(answers)} lines")
    if answers and answers[0].endswith(":") and " " in answers[0] and not answers[0].startswith(_BEGINNINGS):
        del answers[0]  # "Here are the milestones:"
    for line in answers:
        try:
            name, numbers, rest = _read_line(line)
        except Rejected:
            if not name or not quotes.is_line(line):
                raise
            claim = Claim(name, quotes.find(line))
            if name in MILESTONES and claim not in claims:
                claims.append(claim)  # several lines were copied
            continue
        for number in numbers:
            if number > last + _LINES_AFTER_CODE:
                raise Rejected(fallbacks.UNKNOWN_MARK, f"the answer names line {number} of {last}")
            claims.append(Claim(name, _statement_at(statements, number), _variable(rest.strip(_AROUND))))
        if not numbers and rest:
            claims.append(_quoted(name, rest, quotes))
    return claims


_LINES_AFTER_CODE = 20
"""Comments and empty lines at the end of a program that an answer may still name."""
_AROUND = " \t,:=`().;"


def _read_line(line: str) -> tuple[str, list[int], str]:
    """Name, line numbers, and what else the line says: a line of the program, a variable, a remark; nothing for `none`."""
    if match := _LINE_FIRST.fullmatch(line):
        number, name, rest = match[1], match[2], f"{match[1]} {match[3]}"
    elif match := _NAME_FIRST.fullmatch(line):
        number, name, rest = "", match[1], match[2].strip()
    else:
        raise Rejected(fallbacks.NOT_AN_ANSWER, f"the answer has the line {line[:60]!r}")
    if name not in MILESTONES and name not in PROGRAM_METRICS:
        raise Rejected(fallbacks.UNKNOWN_MARK, f"the answer names {name[:40]!r}")
    if not number and _NONE.fullmatch(rest):
        return name, [], ""
    places = _PLACES.fullmatch(rest.strip())
    if places is None:
        return name, [], rest
    return name, [int(part) for part in places[1].split(",")], places[2]


def _quoted(name: str, quote: str, quotes: Quotes) -> Claim:
    if name in PROGRAM_METRICS:
        if (variable := _variable(quote.strip(_AROUND))) is not None:
            return Claim(name, quotes.setting(variable), variable)
        statement = quotes.find(quote)
        return Claim(name, statement, only_target(statement))
    return Claim(name, quotes.find(quote))


def _variable(text: str | None) -> str | None:
    usable = text is not None and text.isascii() and text.isidentifier() and not keyword.iskeyword(text)
    return text if usable else None


def _statement_at(statements: dict[int, ast.stmt], number: int) -> ast.stmt | None:
    """The statement of line `number`, or where that has none (empty, a comment, `else:`), of the nearest line above."""
    while number > 0 and number not in statements:
        number -= 1
    return statements.get(number)


def read_rewrite(text: str, tree: ast.Module) -> list[Claim]:
    """Claims from the whole program with plain marks.

    Comments, quotes and layout do not matter; whatever else differs from `tree` makes the answer unusable.
    """
    if any(as_plain_mark(node) for node in walk(tree)):
        raise Rejected(fallbacks.UNKNOWN_MARK, "the program itself prints plain marks")
    code = _code_of(text)
    try:
        return _read_program(code, tree)
    except Rejected:
        # Outside of plain strings, the escapes of the prompt are other code than what they stand for.
        if (meant := unescape(code)) == code:
            raise
        return _read_program(meant, tree)


def _read_program(code: str, tree: ast.Module) -> list[Claim]:
    try:
        written = parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Rejected(fallbacks.NOT_AN_ANSWER, f"the answer does not parse: {type(error).__name__}") from None
    marks = _take_marks(written)
    difference = describe_difference(tree, written)
    if difference is not None:
        raise Rejected(*difference)
    claims = []
    for original, suite in _suite_pairs(tree, written):
        for position, mark in marks.get(id(suite), []):
            if mark.name not in (PROGRAM_METRICS if mark.is_metric else MILESTONES):
                raise Rejected(fallbacks.UNKNOWN_MARK, f"the answer names {mark.name[:40]!r}")
            claims.append(Claim(mark.name, original[position - 1] if position else None, _variable(mark.variable)))
    return claims


def _code_of(text: str) -> str:
    """The program in the answer: the longest fenced block, or all of it where nothing is fenced."""
    parts = _FENCE.split(text)
    if len(parts) == 1:
        return text
    if len(parts) % 2 == 0:
        raise Rejected(fallbacks.TRUNCATED, "the code block of the answer does not end")
    return max(parts[1::2], key=len).removeprefix("\n")


def _take_marks(tree: ast.Module) -> dict[int, list[tuple[int, PlainMark]]]:
    """Remove the plain marks from `tree`; `id` of a suite -> (statements before it in its suite, mark)."""
    taken: dict[int, list[tuple[int, PlainMark]]] = {}
    for node in walk(tree):
        for _, value in ast.iter_fields(node):
            if not (isinstance(value, list) and value and isinstance(value[0], ast.stmt)):
                continue
            statements: list[ast.stmt] = []
            for item in value:
                if (mark := as_plain_mark(item)) is not None:
                    taken.setdefault(id(value), []).append((len(statements), mark))
                else:
                    statements.append(item)
            value[:] = statements
    return taken


def _suite_pairs(left: ast.AST, right: ast.AST) -> Iterator[tuple[list[ast.stmt], list[ast.stmt]]]:
    """The suites of two equal trees, side by side."""
    stack = [(left, right)]
    while stack:
        a, b = stack.pop()
        for field in a._fields:
            one, other = getattr(a, field, None), getattr(b, field, None)
            if isinstance(one, list) and isinstance(other, list):
                if one and isinstance(one[0], ast.stmt):
                    yield one, other
                stack += [pair for pair in zip(one, other, strict=True) if isinstance(pair[0], ast.AST)]
            elif isinstance(one, ast.AST) and isinstance(other, ast.AST):
                stack.append((one, other))
