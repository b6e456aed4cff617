"""An HTTP connection that does not wait for ever for a request to begin, which uvicorn does."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_TIMEOUT_S = 5.0


class ImpatientProtocol(H11Protocol):
    """uvicorn's protocol, with a limit to the time until a request's headers are there whole.

    Bytes that trickle in do not begin the time anew, and neither do they keep alive a connection after an answer.
    """

    headers_timeout_s = HEADERS_TIMEOUT_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came, and wait for the rest no longer than from the first byte."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self._awaits_headers():
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.headers_timeout_s, self._give_up)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _awaits_headers(self) -> bool:
        cycle = cast(Any, self.cycle)  # None until the first request, whatever uvicorn's annotation says
        return cycle is None or cycle.response_complete

    def _give_up(self) -> None:
        self._deadline = None
        if self._awaits_headers():
            self.transport.close()
