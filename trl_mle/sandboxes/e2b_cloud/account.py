"""The E2B account: creates, kills and lists VMs through the control plane of the SDK."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from trl_mle.config import E2BConfig
from trl_mle.sandboxes.e2b_cloud.errors import explained, is_gone, without_key
from trl_mle.sandboxes.e2b_cloud.timing import E2BTiming

_logger = logging.getLogger(__name__)

_KILLS = 3
"""Requests to kill a VM before it is left to the end of its session."""


class Account:
    """Requests to the control plane, with the settings of `config` and the key from the environment."""

    def __init__(self, config: E2BConfig, timing: E2BTiming = E2BTiming()):  # noqa: B008 - frozen
        self.config = config
        self.timing = timing
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
        """Create a VM; the SDK's object. `name` is the idempotency key: retries of the SDK create one VM only."""
        from e2b_code_interpreter import AsyncSandbox

        with explained("creating a sandbox", of_account=True):
            async with asyncio.timeout(self.config.request_timeout_s + self.timing.kill_s):
                return await AsyncSandbox.create(
                    template=self.config.template,
                    timeout=int(self.config.session_s),
                    metadata=metadata,
                    allow_internet_access=False,
                    idempotency_key=name,
                    **self._params,
                )

    async def kill(self, vm_id: str) -> bool:
        """Kill a VM with a few tries. Returns whether it is certainly gone; a failure is logged."""
        from e2b_code_interpreter import AsyncSandbox

        for left in reversed(range(_KILLS)):
            try:
                async with asyncio.timeout(self.timing.kill_s):
                    await AsyncSandbox.kill(
                        vm_id, **{**self._params, "request_timeout": self.timing.kill_s, "retries": 1}
                    )
                return True
            except Exception as error:
                if is_gone(error):
                    return True
                if left:
                    await asyncio.sleep(self.timing.kill_again_s)
                else:
                    _logger.error(
                        "E2B sandbox %s could not be killed: %s. It ends with its session, or kill it by hand.",
                        vm_id,
                        without_key(f"{type(error).__name__}: {error}"),
                    )
        return False

    async def sweep(self, metadata: dict[str, str]) -> int:
        """Kill all VMs that carry `metadata` and return their number. A failure is logged."""
        from e2b import SandboxQuery
        from e2b_code_interpreter import AsyncSandbox

        vm_ids: list[str] = []
        try:
            async with asyncio.timeout(self.timing.list_s):
                pages = AsyncSandbox.list(query=SandboxQuery(metadata=metadata), **self._params)
                while pages.has_next:
                    vm_ids += [info.sandbox_id for info in await pages.next_items()]
        except Exception as error:
            _logger.error(
                "E2B sandboxes could not be listed: %s. Those with the metadata %s, if there are any, end with their session.",
                without_key(f"{type(error).__name__}: {error}"),
                metadata,
            )
        await asyncio.gather(*map(self.kill, vm_ids))
        return len(vm_ids)
