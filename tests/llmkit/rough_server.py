"""A server that answers with whatever bytes a test wants, and hears what was sent."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

Answer = Callable[[socket.socket], None]


class RoughServer:
    """Listens on this machine; each connection gets ``answer``.

    Args:
        answer: bytes to send, or a function of the connection.
    """

    def __init__(self, answer: bytes | Answer) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.heard: list[bytes] = []

    def __enter__(self) -> RoughServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.heard.append(_request(connection))
            if callable(self._answer):
                self._answer(connection)
            else:
                connection.sendall(self._answer)


def _request(connection: socket.socket) -> bytes:
    """The whole of one request: what is left unread when a connection closes resets it."""
    heard = b""
    while more := connection.recv(65_536):
        heard += more
        head, end, body = heard.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        if end and len(body) >= (int(length[1]) if length else 0):
            break
    return heard


def http(body: str | bytes, *, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    """A whole answer of HTTP/1.1."""
    data = body.encode() if isinstance(body, str) else body
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + data
