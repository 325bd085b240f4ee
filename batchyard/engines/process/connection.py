"""The supervisor's end of a connection to a server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from batchyard.engines.process.messages import Decoder, ToServer, ToSupervisor, encode
from batchyard.engines.process.poller import WRITE, Poller
from batchyard.exceptions import EngineError

READ_BYTES = 64 * 1024
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""A server that leaves so much unread is cut off; when it comes back it is told everything again."""


class Connection:
    """One server. `greeted` once it has said hello: from then on it gets reports."""

    def __init__(
        self,
        sock: socket.socket,
        poller: Poller,
        on_messages: Callable[[Connection, Sequence[ToSupervisor]], None],
        on_closed: Callable[[Connection, str], None],
    ) -> None:
        self.greeted = False
        self._socket = sock
        self._fd = sock.fileno()
        self._poller = poller
        self._on_messages = on_messages
        self._on_closed = on_closed
        self._decoder: Decoder[ToSupervisor] = Decoder(ToSupervisor)
        self._waiting = bytearray()
        self._watches_writing = False
        sock.setblocking(False)
        poller.watch(self._fd, self._ready)

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    @property
    def has_unsent(self) -> bool:
        return bool(self._waiting)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._send_waiting()
        if self.is_open and events & ~WRITE:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.close(str(error))
            return
        if not data:
            self.close("")
            return
        try:
            messages = self._decoder.feed(data)
        except EngineError as error:
            self.close(str(error))
            return
        if messages:
            self._on_messages(self, messages)

    def send(self, messages: Sequence[ToServer]) -> None:
        """Send now, as far as it goes; the rest when the server reads."""
        if self.is_open:
            was_waiting = bool(self._waiting)
            self._waiting += encode(list(messages))
            if not was_waiting:
                self._send_waiting()
            if len(self._waiting) > MAX_WAITING_BYTES:
                self.close(f"the server has left {len(self._waiting)} bytes unread")

    def _send_waiting(self) -> None:
        try:
            sent = self._socket.send(self._waiting)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.close(str(error))
            return
        del self._waiting[:sent]
        if self._watches_writing != bool(self._waiting):
            self._watches_writing = bool(self._waiting)
            self._poller.watch_writing(self._fd, self._watches_writing)

    def close(self, why: str) -> None:
        """Let go of the server; `why` is empty when it left by itself."""
        if self.is_open:
            self._poller.unwatch(self._fd)
            self._fd = -1
            self._socket.close()
            self._waiting.clear()
            self._on_closed(self, why)
