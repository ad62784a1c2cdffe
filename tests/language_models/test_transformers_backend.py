"""TransformersBackend: a frozen model in this process."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.tiny import save_chat_model
from trl_mle.errors import ConfigError
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


def test_a_model_that_cannot_be_loaded_is_named():
    with pytest.raises(ConfigError, match="no/such"):
        TransformersBackend("no/such", 8)
