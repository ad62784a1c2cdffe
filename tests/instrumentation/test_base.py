"""The `Instrumenter` protocol: which classes implement it, and the adapter for objects that do not."""

import asyncio
import copy
import pickle

import pytest

from trl_mle.instrumentation import ASTInstrumenter, Instrumenter, as_instrumenter, new_nonce
from trl_mle.types import InstrumentedProgram, Program

PROGRAM = Program("", "import pandas as pd\n")


def unchanged(program, nonce):
    return InstrumentedProgram(program.code, program, nonce)


class Synchronous:
    name = "mine"

    def instrument(self, program, nonce):
        return unchanged(program, nonce)


class Asynchronous:
    async def instrument(self, program, nonce):
        return unchanged(program, nonce)


class ReturnsAwaitable:
    def instrument(self, program, nonce):
        return Asynchronous().instrument(program, nonce)


class OnlyAsync:
    async def instrument_async(self, program, nonce):
        return unchanged(program, nonce)


class Closable(Synchronous):
    closed = 0

    def take_metrics(self):
        return {"instrumentation/mine": 1.0}

    async def aclose(self):
        self.closed += 1


@pytest.mark.parametrize("kind", [Synchronous, Asynchronous, ReturnsAwaitable, OnlyAsync, Closable])
def test_objects_with_one_method_work_through_the_adapter(kind):
    adapted = as_instrumenter(kind())
    assert isinstance(adapted, Instrumenter)
    assert asyncio.run(adapted.instrument_async(PROGRAM, "n")).code == PROGRAM.code
    asyncio.run(adapted.aclose())
    assert adapted.take_metrics() == ({"instrumentation/mine": 1.0} if kind is Closable else {})


def test_adapter_passes_on_attributes_and_calls_the_methods_that_exist():
    closable = Closable()
    adapted = as_instrumenter(closable)
    asyncio.run(adapted.aclose())
    assert closable.closed == 1
    assert adapted.name == "mine"
    with pytest.raises(AttributeError):
        _ = adapted.missing


def test_ast_instrumenter_implements_the_protocol_and_needs_no_adapter():
    instrumenter, nonce = ASTInstrumenter(), new_nonce()
    assert as_instrumenter(instrumenter) is instrumenter
    assert asyncio.run(instrumenter.instrument_async(PROGRAM, nonce)) == instrumenter.instrument(PROGRAM, nonce)
    assert instrumenter.take_metrics() == {}


def test_subclass_of_ast_instrumenter_overrides_one_method():
    class Mine(ASTInstrumenter):
        async def instrument(self, program, nonce):
            return unchanged(program, nonce)

    assert asyncio.run(Mine().instrument_async(PROGRAM, new_nonce())).code == PROGRAM.code


def test_an_object_without_either_method_is_refused():
    with pytest.raises(TypeError, match=r"`instrument\(program, nonce\)`"):
        as_instrumenter(object())


class TravelsAlone:
    def instrument(self, program, nonce):
        return InstrumentedProgram(program.code, program, nonce)


def test_an_adapted_instrumenter_travels_to_another_process():
    for copied in (
        pickle.loads(pickle.dumps(as_instrumenter(TravelsAlone()))),
        copy.deepcopy(as_instrumenter(TravelsAlone())),
    ):
        instrumented = asyncio.run(copied.instrument_async(Program("", "x = 1"), "n"))
        assert instrumented.code == "x = 1"
