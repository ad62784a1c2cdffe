"""The account: how machines are created, killed and looked for."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from trl_mle.config import E2BConfig
from trl_mle.sandboxes.e2b_cloud.errors import explained, is_gone, without_key

_logger = logging.getLogger(__name__)

_KILLS, _KILL_S, _AGAIN_S = 3, 10.0, 0.5
_LIST_S = 15.0


class Account:
    """How the SDK's control plane is asked, with settings of `config` and the key from the environment."""

    def __init__(self, config: E2BConfig):
        self.config = config
        url = config.sandbox_url or config.api_url or ""
        params = {
            "domain": config.domain,
            "api_url": config.api_url,
            "sandbox_url": config.sandbox_url,
            "http_version": "1.1" if url.startswith("http://") else None,  # HTTP/2 needs TLS
            "request_timeout": config.request_timeout_s,
        }
        self._params: Any = {name: value for name, value in params.items() if value is not None}

    async def create(self, metadata: dict[str, str], name: str) -> Any:
        """A new machine as the SDK's object; tries of the SDK with one `name` make one machine."""
        from e2b_code_interpreter import AsyncSandbox

        with explained("creating a sandbox", of_account=True):
            async with asyncio.timeout(self.config.request_timeout_s + _KILL_S):
                return await AsyncSandbox.create(
                    template=self.config.template,
                    timeout=int(self.config.session_s),
                    metadata=metadata,
                    allow_internet_access=False,
                    idempotency_key=name,
                    **self._params,
                )

    async def kill(self, machine_id: str) -> bool:
        """Kill a machine, with a few tries; a failure is logged. Whether it is gone for sure."""
        from e2b_code_interpreter import AsyncSandbox

        for left in reversed(range(_KILLS)):
            try:
                async with asyncio.timeout(_KILL_S):
                    await AsyncSandbox.kill(machine_id, **{**self._params, "request_timeout": _KILL_S, "retries": 1})
                return True
            except Exception as error:
                if is_gone(error):
                    return True
                if left:
                    await asyncio.sleep(_AGAIN_S)
                else:
                    _logger.error(
                        "E2B sandbox %s could not be killed: %s. It ends with its session, or kill it by hand.",
                        machine_id,
                        without_key(f"{type(error).__name__}: {error}"),
                    )
        return False

    async def sweep(self, metadata: dict[str, str]) -> int:
        """Kill all machines that carry `metadata`; their number. A failure is logged."""
        from e2b import SandboxQuery
        from e2b_code_interpreter import AsyncSandbox

        found = []
        try:
            async with asyncio.timeout(_LIST_S):
                pages = AsyncSandbox.list(query=SandboxQuery(metadata=metadata), **self._params)
                while pages.has_next:
                    found += [info.sandbox_id for info in await pages.next_items()]
        except Exception as error:
            _logger.error(
                "E2B sandboxes could not be listed: %s. Those with the metadata %s, if there are any, end with their session.",
                without_key(f"{type(error).__name__}: {error}"),
                metadata,
            )
        await asyncio.gather(*map(self.kill, found))
        return len(found)
