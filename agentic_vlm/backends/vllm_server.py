"""A vLLM server: requests that are sent once, waiting while it is down, and weights put into it.

Endpoints as in vLLM 0.32: `/health`, `/v1/models`, `/server_info`, `/collective_rpc` with
`reload_weights`, `/reset_prefix_cache` and `/reset_encoder_cache`. The last four are there where
the server is started with VLLM_SERVER_DEV_MODE=1.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import tenacity

from agentic_vlm.errors import BackendUnavailable

_CONNECT_S = 10.0
_LONGEST_PAUSE_S = 30.0
# Answers of a server, or of a gateway before it, that has not begun with the request.
_BUSY_STATUS = (409, 429, 503)
_START = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve CHECKPOINT --enable-scale-out --mm-processor-cache-gb 0 "
    "--logprobs-mode processed_logprobs"
)

T = TypeVar("T")


class _NotAccepted(Exception):
    """The server has not begun with a request, so that it may be sent again."""


class VLLMServer:
    """One server, asked by one process.

    A request is repeated only while the server has not accepted it. One that was accepted and then
    lost is an outage. After any loss of the connection the server may be another one with other
    weights: it is waited for, and gets the last weights again before it is asked anything.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        patience_s: float = 1800.0,
        timeout_s: float = 660.0,
        first_pause_s: float = 0.5,
    ) -> None:
        """Keep the settings; nothing is contacted before the first request.

        Args:
            url: such as `http://127.0.0.1:8000`.
            key: what the server wants as a bearer token; empty for none.
            patience_s: how long a server that is down or busy is waited for.
            timeout_s: for one request, from sending to the whole answer.
            first_pause_s: pause before the second try; it doubles with each, up to half a minute.
        """
        self.url = url.rstrip("/")
        self.model = ""
        """Name of the model there; empty before the first request."""
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._patience_s, self._timeout_s = patience_s, timeout_s
        self._first_pause_s = first_pause_s
        self._http: aiohttp.ClientSession | None = None
        self._lock = asyncio.Lock()
        self._is_known = False
        self._weights: Path | None = None

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a request and return its JSON answer.

        Raises:
            BackendUnavailable: the server stays away, refused the request, or broke off.
        """

        async def attempt() -> Any:
            await self._make_known()
            return await self._send("POST", path, body)

        return await self._patiently(attempt)

    async def load_weights(self, folder: Path) -> None:
        """Let the server read a checkpoint folder and forget what it computed with the old one.

        Args:
            folder: absolute, with safetensors; the server must see it at the same path, until
                other weights are loaded.

        Raises:
            BackendUnavailable: the server stays away, or cannot load it.
        """
        async with self._lock:
            self._weights, self._is_known = folder, False
        await self.ready()

    async def ready(self) -> None:
        """Wait until the server is there, with the weights that were loaded last.

        Raises:
            BackendUnavailable: it stays away.
        """
        await self._patiently(self._make_known)

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
        self._http = None

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the server accepts, or for as long as it may stay away."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_NotAccepted),
            wait=tenacity.wait_exponential(self._first_pause_s, max=_LONGEST_PAUSE_S),
            stop=tenacity.stop_before_delay(self._patience_s),
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except _NotAccepted as fault:
            raise self.fault(f"waited {self._patience_s:.0f} s: {fault}") from fault

    async def _make_known(self) -> None:
        """Look what a server is that is new or was lost, and give it the weights."""
        async with self._lock:
            if not self._is_known:
                await self._look()
                await self._reload()
                self._is_known = True

    async def _look(self) -> None:
        """Check that the server is there and gives the log-probabilities that it samples from."""
        await self._send("GET", "/health")
        models = await self._send("GET", "/v1/models")
        self.model = models["data"][0]["id"]
        if self._weights is None:
            return
        found = await self._send("GET", "/server_info?config_format=json")
        mode = found.get("vllm_config", {}).get("model_config", {}).get("logprobs_mode")
        if mode not in (None, "processed_logprobs"):
            raise self.fault(
                f"it gives {mode}, not those of the distribution that it samples from",
                fix=f"start it as {_START}",
            )

    async def _reload(self) -> None:
        if self._weights is None:
            return
        where = {"weights_path": str(self._weights)}
        await self._send("POST", "/collective_rpc", {"method": "reload_weights", "kwargs": where})
        # Keys, values and picture features of the old weights.
        for cache in ("prefix", "encoder"):
            answer = await self._send("POST", f"/reset_{cache}_cache", {})
            if isinstance(answer, dict) and answer.get("success") is False:
                raise _NotAccepted(f"its {cache} cache was not reset: requests are running")

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send once; `_NotAccepted` where sending again does nothing twice."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=_CONNECT_S),
                # A connection kept open may be closed by the server while a request is sent on it;
                # nobody can tell then whether it was accepted.
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
            )
        try:
            async with self._http.request(
                method, f"{self.url}{path}", json=body, headers=self._headers
            ) as answer:
                text = await answer.text()
                return self._read(answer.status, path, text)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as fault:
            self._is_known = False
            raise _NotAccepted(f"not reached: {fault}") from fault
        except TimeoutError as fault:
            raise self.fault(f"{path}: no answer in {self._timeout_s:.0f} s") from fault
        except (aiohttp.ClientError, OSError) as fault:
            self._is_known = False
            what = f"{path}: accepted, then lost: {type(fault).__name__}: {fault}"
            raise self.fault(what) from fault

    def _read(self, status: int, path: str, text: str) -> Any:
        if status in _BUSY_STATUS:
            raise _NotAccepted(f"{path}: status {status}")
        if status >= 400:
            fix = f"start it as {_START}" if status == 404 else "look at its log"
            raise self.fault(f"{path}: status {status}: {text[:300]}", fix=fix)
        try:
            return json.loads(text) if text else {}
        except ValueError as fault:
            raise self.fault(f"{path}: no JSON: {text[:100]!r}") from fault

    def fault(self, what: str, *, fix: str = "look at its log") -> BackendUnavailable:
        """Return an outage of this server."""
        return BackendUnavailable(f"vLLM server {self.url}", what, fix)
