"""Decorators: whether what a decorator of the program makes of a function still runs the function, as it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trl_mle.instrumentation.analysis.budget import walk
from trl_mle.instrumentation.analysis.managers import ends_exceptions
from trl_mle.instrumentation.analysis.scopes import own_nodes
from trl_mle.instrumentation.analysis.symbols import FunctionNode

_WRAPPERS = frozenset({"wraps", "update_wrapper"})


def passes_on(decorator: FunctionNode, takes_settings: bool, is_method: bool = False) -> bool:
    """Whether the result of `decorator` calls the function that it is given, and ends none of its exceptions.

    Args:
        decorator: The decorator.
        takes_settings (`bool`): Whether it is called first, as in `@repeat(3)`.
        is_method (`bool`, *optional*, defaults to `False`): Whether its first parameter is the instance.
    """
    if ends_exceptions(decorator):
        return False
    makers = _made_by(decorator) if takes_settings else [decorator]
    return any(_calls_what_it_is_given(maker, is_method and maker is decorator) for maker in makers)


def calls_once(decorator: FunctionNode) -> bool:
    """Whether the result of `decorator` calls the function that it is given once, and nothing else gets the function.

    So the function stays plain Python, which no library compiles, and runs as often as it is called.
    """
    given = {
        part.arg
        for node in walk(decorator)
        if isinstance(node, ast.arguments)
        for part in (*node.posonlyargs, *node.args)
    }
    calls: list[str] = []
    kept: set[int] = set()
    uses: list[ast.Name] = []
    for node in walk(decorator):
        match node:
            case ast.For() | ast.AsyncFor() | ast.While() | ast.comprehension():
                return False
            case ast.Call(func=ast.Name(id=name) as func) if name in given:
                calls.append(name)
                kept.add(id(func))
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments) if name in _WRAPPERS:
                kept.update(map(id, arguments))
            case ast.Attribute(value=ast.Name() as value):
                kept.add(id(value))
            case ast.Name(id=name, ctx=ast.Load()) if name in given:
                uses.append(node)
    return len(calls) == 1 and all(id(use) in kept for use in uses if use.id == calls[0])


def _calls_what_it_is_given(maker: FunctionNode | ast.Lambda, is_method: bool) -> bool:
    parameters = [*maker.args.posonlyargs, *maker.args.args][1 if is_method else 0 :]
    if not parameters:
        return False
    given = parameters[0].arg
    returned = _returned(maker)
    if any(isinstance(value, ast.Name) and value.id == given for value in returned):
        return True
    inner = {node.name: node for node in _inner(maker)}
    for value in returned:
        match value:  # `return decorate if function is None else decorate(function)`
            case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=argument), *_]) if (
                argument == given and name in inner
            ):
                return _calls_what_it_is_given(inner[name], is_method=False)
    return any(_calls(made, given) for made in _made_by(maker))


def _returned(function: FunctionNode | ast.Lambda) -> list[ast.expr]:
    if isinstance(function, ast.Lambda):
        return [function.body]
    returned = [
        node.value for node in own_nodes(function.body) if isinstance(node, ast.Return) and node.value is not None
    ]
    choices = [part for value in returned if isinstance(value, ast.IfExp) for part in (value.body, value.orelse)]
    return [*returned, *choices]


def _made_by(function: FunctionNode | ast.Lambda) -> list[FunctionNode | ast.Lambda]:
    """The functions in `function` that it returns, also wrapped in a call: `return wraps(f)(timed)`."""
    names: set[str] = set()
    made: list[FunctionNode | ast.Lambda] = []
    for value in _returned(function):
        for node in walk(value):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif isinstance(node, ast.Lambda):
                made.append(node)
    return [*made, *(node for node in _inner(function) if node.name in names)]


def _inner(function: FunctionNode | ast.Lambda) -> Iterator[FunctionNode]:
    for node in own_nodes(function.body) if not isinstance(function, ast.Lambda) else ():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _calls(function: FunctionNode | ast.Lambda, name: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in walk(function)
    )
