"""TransformersBackend: a frozen model in this process."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.support.tiny import save_chat_model
from trl_mle.errors import ConfigError
from trl_mle.language_models.backends import Answer, BackendError
from trl_mle.language_models.transformers_backend import TransformersBackend


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_chat_model(tmp_path_factory.mktemp("model"))


def test_answers_of_a_batch_are_those_of_single_conversations(model):
    backend = TransformersBackend(model, 8, dtype="float32")
    conversations = [[{"role": "user", "content": text}] for text in ("a", "a longer one", "loaded")]

    async def both():
        single = [await backend.complete(messages) for messages in conversations]
        return single, await asyncio.gather(*map(backend.complete, conversations))

    single, together = asyncio.run(both())
    assert single == together
    assert not any(parameter.requires_grad for parameter in backend._model.parameters())


def test_a_conversation_that_is_too_long_costs_the_others_nothing(model):
    """The template shows 20 characters of a message, so many messages make a long conversation."""
    backend = TransformersBackend(model, 8, dtype="float32")
    short, long = [{"role": "user", "content": "a"}], [{"role": "user", "content": "x" * 20}] * 20

    async def all_of(*conversations):
        return await asyncio.gather(*map(backend.complete, conversations), return_exceptions=True)

    alone, _ = asyncio.run(all_of(short, short))
    first, error, last = asyncio.run(all_of(short, long, short))
    assert first == last == alone
    assert isinstance(error, BackendError)
    assert "256" in str(error)
    assert not error.down  # it is refused, as by a server, and says nothing about the model


def test_a_conversation_that_fails_costs_the_others_nothing(model, monkeypatch):
    backend = TransformersBackend(model, 8, dtype="float32")

    def generate(conversations):
        if any(messages[0]["content"] == "large" for messages in conversations):
            raise MemoryError("out of memory")
        return [Answer(messages[0]["content"], False) for messages in conversations]

    monkeypatch.setattr(backend, "_generate", generate)

    async def answers():
        questions = [[{"role": "user", "content": text}] for text in ("a", "large", "b")]
        return await asyncio.gather(*map(backend.complete, questions), return_exceptions=True)

    first, error, last = asyncio.run(answers())
    assert (first.text, last.text) == ("a", "b")
    assert isinstance(error, BackendError)
    assert error.down
    assert "out of memory" in str(error)


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_closed_model_keeps_nobody_waiting_and_can_be_used_again(model, monkeypatch, one_by_one):
    backend = TransformersBackend(model, 8, dtype="float32")
    started, may_end = threading.Event(), threading.Event()

    def generate(conversations):
        if one_by_one and len(conversations) > 1:
            raise RuntimeError("out of memory")
        started.set()
        may_end.wait(10)
        return [Answer("a", False) for _ in conversations]

    monkeypatch.setattr(backend, "_generate", generate)

    async def close_and_ask_again():
        question = [{"role": "user", "content": "a"}]
        waiting = [asyncio.create_task(backend.complete(question)) for _ in range(12)]
        await asyncio.to_thread(started.wait, 10)
        await backend.aclose()
        again = asyncio.create_task(backend.complete(question))
        errors = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
        may_end.set()
        return errors, await asyncio.wait_for(again, 10)

    errors, answer = asyncio.run(close_and_ask_again())
    assert [type(error) for error in errors] == [BackendError] * 12
    assert answer == Answer("a", False)


def test_a_model_that_cannot_be_loaded_is_named():
    with pytest.raises(ConfigError, match="no/such"):
        TransformersBackend("no/such", 8)
