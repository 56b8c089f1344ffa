"""A tiny file server on 127.0.0.1 that can be told to be slow, to break off, to lie, and to fail."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from types import TracebackType
from urllib.parse import unquote, urlsplit

PIECE_BYTES = 16_384


@dataclass(kw_only=True)
class Behaviour:
    """How files are served from now on.

    Args:
        pause_s: between two pieces of 16 KiB.
        cut_after: break the connection off after so many bytes of an answer; cuts: so many times.
        ranges: whether a range request is answered with that range.
        wrong: whether every byte is turned round.
        status: answer with this error instead; failures: so many times.
    """

    pause_s: float = 0.0
    cut_after: int = 0
    cuts: int = 0
    ranges: bool = True
    wrong: bool = False
    status: int = 0
    failures: int = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request: its path and the first byte that it wanted (None without a range)."""

    path: str
    start: int | None


@dataclass(kw_only=True)
class Serving:
    """The server, a context manager. Subclasses say what its listings are."""

    files: dict[str, bytes] = field(default_factory=dict)
    behaviour: Behaviour = field(default_factory=Behaviour)
    asked: list[Asked] = field(default_factory=list)

    def listing(self, path: str) -> tuple[str, bytes] | None:
        """Content type and body of what is not a file."""
        raise NotImplementedError

    def asked_for(self, name: str) -> list[Asked]:
        """The requests for the file of this name, in their order."""
        return [one for one in self.asked if one.path.endswith("/" + name)]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Serving:
        serving, lock = self, Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                wanted = self.headers.get("Range")
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else None
                behaviour = serving.behaviour
                with lock:
                    serving.asked.append(Asked(path=path, start=start))
                    fails = behaviour.status > 0 and behaviour.failures > 0
                    behaviour.failures -= fails
                if fails:
                    self._whole(behaviour.status, "application/json", b"{}")
                elif path in serving.files:
                    self._file(serving.files[path], start, behaviour)
                elif listed := serving.listing(path):
                    self._whole(200, *listed)
                else:
                    self._whole(404, "application/json", json.dumps({"error": "no such thing"}).encode())

            def _whole(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if status == 404:
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()
                self.wfile.write(body)

            def _file(self, content: bytes, start: int | None, behaviour: Behaviour) -> None:
                if behaviour.wrong:
                    content = bytes(255 - byte for byte in content)
                ranged = behaviour.ranges and start is not None
                if ranged and start is not None and start >= len(content):
                    self._whole(416, "text/plain", b"")
                    return
                body = content[start:] if ranged else content
                self.send_response(206 if ranged else 200)
                self.send_header("Content-Length", str(len(body)))
                if ranged:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                with lock:
                    cut = behaviour.cut_after if behaviour.cuts > 0 else 0
                    behaviour.cuts -= bool(cut)
                try:
                    for at in range(0, cut or len(body), PIECE_BYTES):
                        self.wfile.write(body[at : at + PIECE_BYTES])
                        time.sleep(serving.behaviour.pause_s)
                except OSError:
                    pass  # the other side has gone
                if cut:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
