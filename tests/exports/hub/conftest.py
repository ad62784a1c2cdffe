"""A Hub on a loopback port for the real client."""

from __future__ import annotations

import huggingface_hub
import pytest

from tests.support.hub_server import TOKEN, HubServer

SECRET = "value-of-a-secret-variable"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub for the client of this process, with a token, a home folder and a secret variable."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("MY_API_KEY", SECRET)
    with HubServer() as server:
        template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        for name, value in {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": template,
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server
        assert server.unknown == []
