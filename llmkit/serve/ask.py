"""Ask a deployment how it is, and for its first answer: a few lines of HTTP, as any client would write them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from llmkit.serve.errors import ServeError

TIMEOUT_S = 60.0
LOOK_S = 2.0
"""A page that looks how a server is does not wait for it longer."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request and its answer.

    Args:
        path: what was asked. status: of HTTP. body: the answer. ms: until it was there, whole.
    """

    path: str
    status: int
    body: dict[str, Any]
    ms: float

    @property
    def error(self) -> str:
        """The error's code; empty where there is none."""
        told = self.body.get("error")
        return str(told.get("code", "")) if isinstance(told, dict) else ""


def post(address: str, path: str, data: object, *, key: str | None = None) -> Asked:
    """Send one request to a server of this machine.

    Raises:
        ServeError: ``deployment_silent``: nothing answers there.
    """
    headers = {b"Authorization": f"Bearer {key}".encode()} if key else {}
    began = time.perf_counter()
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as http:
            answer = http.post(address + path, json=data, headers=headers)
        body = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServeError("deployment_silent", deployment=address, detail=f"{TIMEOUT_S:g} s") from error
    ms = 1000 * (time.perf_counter() - began)
    return Asked(path=path, status=answer.status_code, body=body if isinstance(body, dict) else {}, ms=ms)


def can(address: str) -> tuple[str, ...]:
    """What a server that is ready can be asked for; nothing while it is not, or is silent."""
    body = _get(address, "/ready")
    if body is None or body.status_code != httpx.codes.OK:
        return ()
    return tuple(body.json().get("can", ()))


def figures(address: str) -> dict[str, float]:
    """What a server counts: ``requests``, ``tokens``, ``running``, ``queue``, and ``mean_ms`` where it has answered;
    nothing where it is silent."""
    body = _get(address, "/metrics")
    if body is None:
        return {}
    sums: dict[str, float] = {}
    for line in body.text.splitlines():
        name, _, value = line.rpartition(" ")
        if not line.startswith("#"):
            base = name.partition("{")[0]
            sums[base] = sums.get(base, 0.0) + float(value)
    requests = sums.get("llmkit_request_seconds_count", 0.0)
    found = {
        "requests": requests,
        "tokens": sums.get("llmkit_tokens_total", 0.0),
        "running": sums.get("llmkit_running", 0.0),
        "queue": sums.get("llmkit_queue", 0.0),
    }
    if requests:
        found["mean_ms"] = 1000 * sums.get("llmkit_request_seconds_sum", 0.0) / requests
    return found


def _get(address: str, path: str) -> httpx.Response | None:
    try:
        with httpx.Client(trust_env=False, timeout=LOOK_S) as http:
            return http.get(address + path)
    except httpx.HTTPError:
        return None
